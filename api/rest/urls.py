"""Every path of REST, version 1. Ids are taken as any text: one that is malformed is simply not there."""

from django.urls import path

from api.rest import accounts, documents, login, markets, orders

urlpatterns = [
    path("auth/token", login.TokenView.as_view()),
    path("auth/token/refresh", login.TokenRefreshView.as_view()),
    path("orders", orders.OrdersView.as_view()),
    path("orders/batch", orders.BatchView.as_view()),
    path("orders/by-client-id/<path:client_order_id>", orders.OrderByClientIdView.as_view()),
    path("orders/<str:order_id>", orders.OrderView.as_view()),
    path("symbols", markets.SymbolsView.as_view()),
    path("time", markets.TimeView.as_view()),
    path("balances", accounts.BalancesView.as_view()),
    path("schema", documents.SchemaView.as_view(), name="schema"),
    path("docs", documents.SwaggerView.as_view(), name="docs"),
    path("redoc", documents.RedocView.as_view(), name="redoc"),
]
