"""Intake, settlement, life cycle and reconciliation of orders."""
