"""The endpoints, one module per concept; `app.py` lists their routers."""
