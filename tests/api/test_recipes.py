"""The recipes endpoints."""

from starlette.testclient import TestClient

from ttm_core.spec import recipes


def test_pages_contain_every_recipe_once(shared_client: TestClient) -> None:
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


def test_search_covers_names_and_titles(shared_client: TestClient) -> None:
    names = {item["name"] for item in shared_client.get("/recipes?q=DeiT vitkd").json()["items"]}
    assert names == {"imagenet/deit3_small_patch16_224-deit_tiny_patch16_224/wttm-vitkd"}


def test_recipe_is_shown_and_unknown_name_suggests_the_nearest(shared_client: TestClient) -> None:
    shown = shared_client.get("/recipes/cifar100/resnet56-resnet20/wttm").json()
    assert shown["spec"]["method"] == {"kind": "wttm", "gamma": 0.3, "beta": 1.5}
    problem = shared_client.get("/recipes/cifar100/resnet56-resnet20/wtm")
    assert (problem.status_code, problem.json()["code"]) == (404, "recipe_not_found")
    assert "cifar100/resnet56-resnet20/wttm" in problem.json()["detail"]
