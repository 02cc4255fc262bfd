"""The asyncio client. `python -m ttm_client.codegen.make_synchronous` generates the synchronous one from it."""
