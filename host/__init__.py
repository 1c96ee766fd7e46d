"""The PC side: protocol, link and demos."""
