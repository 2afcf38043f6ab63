"""Load for a server: requests made from a signature, timed, and shown; `salver bench`.

`preparing` turns what is asked into targets, `lines` carry requests, `loops` decide when they are
sent, `turns` put targets side by side, and `terminal`, `picture` and `results` show what came out.
"""
