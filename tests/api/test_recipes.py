"""Recipes over HTTP: found page by page, and each a part of a spec that POST /jobs takes by its name."""

from starlette.testclient import TestClient

from ttm_core.spec import recipes


def test_pages_hold_every_recipe_once(shared_client: TestClient) -> None:
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = shared_client.get("/recipes", params={"limit": 30, **({"cursor": cursor} if cursor else {})}).json()
        seen += [item["name"] for item in page["items"]]
        cursor = page["next_cursor"]
        assert page["has_more"] == (cursor is not None)
        if cursor is None:
            break
    assert seen == recipes.names()


def test_words_search_names_and_titles(shared_client: TestClient) -> None:
    names = {item["name"] for item in shared_client.get("/recipes?q=DeiT vitkd").json()["items"]}
    assert names == {"imagenet/deit3_small_patch16_224-deit_tiny_patch16_224/wttm-vitkd"}


def test_one_is_shown_and_an_unknown_one_is_answered_with_the_nearest(shared_client: TestClient) -> None:
    shown = shared_client.get("/recipes/cifar100/resnet56-resnet20/wttm").json()
    assert shown["spec"]["method"] == {"kind": "wttm", "gamma": 0.3, "beta": 1.5}
    problem = shared_client.get("/recipes/cifar100/resnet56-resnet20/wtm")
    assert (problem.status_code, problem.json()["code"]) == (404, "recipe_not_found")
    assert "cifar100/resnet56-resnet20/wttm" in problem.json()["detail"]
