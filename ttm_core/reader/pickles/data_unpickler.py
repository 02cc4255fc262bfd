"""An unpickler for untrusted data, in bounded time. Standard library only."""

import pickle
from collections.abc import Callable
from typing import Any, ClassVar


def checked_key(key: object) -> Any:
    """Returns the key of a dict. Raises UnpicklingError if it is a nested tuple or another object."""
    if isinstance(key, str | bytes | int | float | bool | None):
        return key
    if isinstance(key, tuple) and all(isinstance(part, str | bytes | int | float | bool | None) for part in key):
        return key
    raise pickle.UnpicklingError(f"a dict has a key of type {type(key).__name__}")


# The unpickler in C allocates as many memo slots as a hostile file claims; the one in Python does not.
class DataUnpickler(pickle._Unpickler):
    """Unpickles plain data. Subclasses define `find_class`, and which of its results may be called.

    Dict keys are numbers, text or flat tuples, because hashing nested tuples takes time exponential in their depth.
    """

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)

    def may_call(self, function: object) -> bool:
        """Returns whether a pickle may call `function`, a value on its stack."""
        return False

    def _load_setitem(self) -> None:
        stack = self.stack  # type: ignore[attr-defined]
        value, key = stack.pop(), stack.pop()
        _as_dict(stack[-1])[checked_key(key)] = value

    def _load_setitems(self) -> None:
        items = self.pop_mark()  # type: ignore[attr-defined]
        target = _as_dict(self.stack[-1])  # type: ignore[attr-defined]
        for index in range(0, len(items), 2):
            target[checked_key(items[index])] = items[index + 1]

    def _load_dict(self) -> None:
        items = self.pop_mark()  # type: ignore[attr-defined]
        self.append({checked_key(items[i]): items[i + 1] for i in range(0, len(items), 2)})  # type: ignore[attr-defined]

    def _load_additems(self) -> None:
        items = self.pop_mark()  # type: ignore[attr-defined]
        target = self.stack[-1]  # type: ignore[attr-defined]
        if not isinstance(target, set):
            raise pickle.UnpicklingError("a set is damaged")
        target.update(map(checked_key, items))

    def _load_frozenset(self) -> None:
        self.append(frozenset(map(checked_key, self.pop_mark())))  # type: ignore[attr-defined]

    def _load_reduce(self) -> None:
        stack = self.stack  # type: ignore[attr-defined]
        arguments = stack.pop()
        function = stack[-1]
        if not self.may_call(function) or not isinstance(arguments, tuple):
            raise pickle.UnpicklingError("it calls something that is no part of the format")
        stack[-1] = function(*arguments)

    def _load_build(self) -> None:
        state = self.stack.pop()  # type: ignore[attr-defined]
        # Only our own classes have a use for their state.
        set_state: Callable[[Any, Any], None] | None = vars(type(self.stack[-1])).get("__setstate__")  # type: ignore[attr-defined]
        if set_state is not None:
            set_state(self.stack[-1], state)  # type: ignore[attr-defined]

    def _refuse(self) -> None:
        raise pickle.UnpicklingError("it uses a feature of pickle that is no part of the format")


_HANDLERS: dict[bytes, Any] = {
    pickle.SETITEM: DataUnpickler._load_setitem,
    pickle.SETITEMS: DataUnpickler._load_setitems,
    pickle.DICT: DataUnpickler._load_dict,
    pickle.ADDITEMS: DataUnpickler._load_additems,
    pickle.FROZENSET: DataUnpickler._load_frozenset,
    pickle.REDUCE: DataUnpickler._load_reduce,
    pickle.BUILD: DataUnpickler._load_build,
    **dict.fromkeys(
        (pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.INST, pickle.OBJ, pickle.NEWOBJ_EX),
        DataUnpickler._refuse,
    ),
}
DataUnpickler.dispatch.update({code[0]: handler for code, handler in _HANDLERS.items()})


def _as_dict(value: object) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise pickle.UnpicklingError("it assigns a key of something that is no dict")
    return value
