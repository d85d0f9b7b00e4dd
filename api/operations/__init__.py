"""What operators and their monitors ask a web process: health, probes, metrics. Answered beside Django, without middleware, log-in or
the API's limits; what would help an attacker is told to internal addresses only.
"""
