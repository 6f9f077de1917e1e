"""Roles: who speaks, how, and with which voice."""

from vocalmtp.roles.role import Role, list_roles, load_role

__all__ = ["Role", "list_roles", "load_role"]
