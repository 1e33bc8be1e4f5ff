"""Graphs as dicts of sets: circles, chains and paths. Every target of an edge is a key, too."""

from __future__ import annotations

from typing import TypeAlias

Graph: TypeAlias = dict[str, set[str]]


def merged(edges: Graph, group: dict[str, str]) -> Graph:
    """Return the graph of groups of nodes, without edges inside a group."""
    found: Graph = {name: set() for name in group.values()}
    for node, targets in edges.items():
        found[group[node]] |= {group[target] for target in targets} - {group[node]}
    return found


def reachable(edges: Graph, node: str) -> set[str]:
    """Return the nodes at the end of every path of one edge or more."""
    found: set[str] = set()
    ahead = set(edges[node])
    while ahead:
        found |= ahead
        ahead = set().union(*(edges[each] for each in ahead)) - found
    return found


def circles(edges: Graph) -> list[list[str]]:
    """Return the sets of nodes that reach each other (strongly connected components), as sorted lists."""
    reach = {node: reachable(edges, node) for node in edges}
    around = {node: [each for each in sorted(reach[node]) if node in reach[each]] for node in sorted(edges)}
    return [circle for node, circle in around.items() if circle[:1] == [node]]


def longest_chain(edges: Graph) -> list[str]:
    """Return the longest chain of edges; a circle counts as all of its nodes, in any order."""
    joined = {node: " ".join(circle) for circle in circles(edges) for node in circle}
    joint = merged(edges, {node: joined.get(node, node) for node in edges})
    chains: dict[str, list[str]] = {}

    def chain(node: str) -> list[str]:
        if node not in chains:
            chains[node] = node.split() + max(map(chain, sorted(joint[node])), key=len, default=[])
        return chains[node]

    return max(map(chain, sorted(joint)), key=len, default=[])


def shortest_path(edges: Graph, start: str, end: str) -> list[str]:
    """Return the shortest path between two nodes, both included, edges taken in either direction; empty without one."""
    both = {node: edges[node] | {each for each in edges if node in edges[each]} for node in edges}
    paths, seen = [[start]], {start}
    while paths:
        path, *paths = paths
        if path[-1] == end:
            return path
        ahead = sorted(both[path[-1]] - seen)
        seen |= set(ahead)
        paths += [[*path, node] for node in ahead]
    return []
