"""Every path of REST, version 1. Ids are taken as any text: one that is malformed is simply not there."""

from django.urls import path

from api.rest import accounts, documents, login, markets, orders, trades, wallet

urlpatterns = [
    path("auth/token", login.TokenView.as_view()),
    path("auth/token/refresh", login.TokenRefreshView.as_view()),
    path("orders", orders.OrdersView.as_view()),
    path("orders/batch", orders.BatchView.as_view()),
    path("orders/cancel-all-after", orders.CancelAllAfterView.as_view()),
    path("orders/by-client-id/<path:client_order_id>", orders.OrderByClientIdView.as_view()),
    path("orders/<str:order_id>", orders.OrderView.as_view()),
    path("orderbook/<path:symbol>/depth", markets.DepthView.as_view()),
    path("orderbook/<path:symbol>", markets.BookView.as_view()),
    path("candles/<path:symbol>", markets.CandlesView.as_view()),
    path("ticker", markets.TickersView.as_view()),
    path("ticker/<path:symbol>", markets.TickerView.as_view()),
    path("symbols", markets.SymbolsView.as_view()),
    path("time", markets.TimeView.as_view()),
    path("trades", trades.TradesView.as_view()),
    path("trades/my", trades.OwnTradesView.as_view()),
    path("trades/<str:trade_id>", trades.TradeView.as_view()),
    path("balances", accounts.BalancesView.as_view()),
    path("positions", accounts.PositionsView.as_view()),
    path("ledger", accounts.LedgerView.as_view()),
    path("withdrawals", wallet.WithdrawalsView.as_view()),
    path("withdrawals/<str:withdrawal_id>", wallet.WithdrawalView.as_view()),
    path("withdrawal-addresses", wallet.AddressesView.as_view()),
    path("withdrawal-addresses/<str:address_id>", wallet.AddressView.as_view()),
    path("deposits", wallet.DepositsView.as_view()),
    path("transfers", wallet.TransfersView.as_view()),
    path("statements", wallet.StatementsView.as_view()),
    path("fees", accounts.FeesView.as_view()),
    path("schema", documents.SchemaView.as_view(), name="schema"),
    path("docs", documents.SwaggerView.as_view(), name="docs"),
    path("redoc", documents.RedocView.as_view(), name="redoc"),
]
