"""The bench: ours and a real peer in turns, in the same namespaces, under the same load; ratios, not rates.

`command` runs it; every other module but the few it rests on (`row`, `place`, `programs`, `drivers`, `peers`)
is one kind of measurement and has `rows`.
"""
