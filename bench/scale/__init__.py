"""Ray nodes in network namespaces of this machine: the same bytes, whatever is killed or cut."""
