// Tabs: each tab is a link to a fragment, which shows the panel of the same name. Without a fragment, the default is shown.

/** Shows one panel of a tablist at a time, following the fragment of the URL. */
export function followTabs(list) {
  const tabs = [...list.querySelectorAll("[role=tab]")];
  const panel = (tab) => document.getElementById(tab.getAttribute("aria-controls"));

  /** The tab of a fragment: the tab's own, or the one whose panel contains the element. */
  function tabOf(fragment) {
    const target = fragment && document.getElementById(fragment.slice(1));
    return tabs.find((tab) => tab.hash === fragment || (target && panel(tab).contains(target)));
  }

  function show() {
    const chosen = tabOf(location.hash) ?? tabs.find((tab) => tab.hash === `#${list.dataset.default}`);
    for (const tab of tabs) {
      tab.setAttribute("aria-selected", tab === chosen);
      tab.tabIndex = tab === chosen ? 0 : -1;
      panel(tab).hidden = tab !== chosen;
    }
  }

  list.addEventListener("click", (event) => {
    const tab = event.target.closest("[role=tab]");
    if (!tab) return;
    // Setting the fragment would scroll to the section.
    event.preventDefault();
    history.replaceState(null, "", tab.hash);
    show();
  });
  list.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(tabs.indexOf(document.activeElement) + step + tabs.length) % tabs.length];
    next.focus();
    next.click();
  });
  addEventListener("hashchange", show);
  show();
}
