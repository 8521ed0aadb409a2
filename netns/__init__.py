"""Linux network namespaces for the lab: hosts, links, divert rules, capture. Knows nothing of WFP.

Nothing is imported here, so that `netns.errors` alone stays cheap; take names from their modules:
`netns.lab.Lab`, `netns.namespace.Namespace`, `netns.veth.VethPair`, `netns.rules`, `netns.capture`.
"""
