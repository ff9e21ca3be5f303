"""The host side of a device session: ship the agent, shake hands, send content, run rounds, install."""
