"""Docker's endpoints that are not there yet: each answers 501 and says which one it is.

A route that a group of ours has registered wins over its line here.
"""

from __future__ import annotations

from wherry.api.routing import Router

_MISSING: tuple[tuple[str, str, str], ...] = (
    ("POST", "/auth", "checking registry credentials (/auth)"),
    ("GET HEAD PUT", "/containers/{id}/archive", "copying files (/containers/{id}/archive)"),
    ("GET", "/containers/{id}/export", "container export (/containers/{id}/export)"),
    ("GET", "/containers/{id}/stats", "container statistics (/containers/{id}/stats)"),
    ("POST", "/images/create", "image pull and import (/images/create)"),
    ("GET", "/images/search", "image search (/images/search)"),
    ("POST", "/images/{name:.+}/push", "image push (/images/{name}/push)"),
    ("GET", "/images/{name:.+}/attestations", "attestations (/images/{name}/attestations)"),
    ("GET", "/distribution/{name:.+}/json", "registry look-ups (/distribution)"),
    ("POST", "/build", "image build (/build)"),
    ("POST", "/build/cancel", "image build (/build/cancel)"),
    ("POST", "/session", "BuildKit sessions (/session)"),
    ("POST", "/grpc", "BuildKit (/grpc)"),
    ("GET", "/networks", "networks (/networks)"),
    ("POST", "/networks/create", "networks (/networks/create)"),
    ("POST", "/networks/prune", "networks (/networks/prune)"),
    ("GET DELETE", "/networks/{id}", "networks (/networks/{id})"),
    ("POST", "/networks/{id}/connect", "networks (/networks/{id}/connect)"),
    ("POST", "/networks/{id}/disconnect", "networks (/networks/{id}/disconnect)"),
    ("GET", "/volumes", "volumes (/volumes)"),
    ("POST", "/volumes/create", "volumes (/volumes/create)"),
    ("POST", "/volumes/prune", "volumes (/volumes/prune)"),
    ("GET PUT DELETE", "/volumes/{name}", "volumes (/volumes/{name})"),
    ("GET", "/swarm", "swarm mode (/swarm)"),
    ("GET", "/swarm/unlockkey", "swarm mode (/swarm/unlockkey)"),
    ("POST", "/swarm/init", "swarm mode (/swarm/init)"),
    ("POST", "/swarm/join", "swarm mode (/swarm/join)"),
    ("POST", "/swarm/leave", "swarm mode (/swarm/leave)"),
    ("POST", "/swarm/update", "swarm mode (/swarm/update)"),
    ("POST", "/swarm/unlock", "swarm mode (/swarm/unlock)"),
    ("GET", "/nodes", "swarm nodes (/nodes)"),
    ("GET DELETE", "/nodes/{id}", "swarm nodes (/nodes/{id})"),
    ("POST", "/nodes/{id}/update", "swarm nodes (/nodes/{id}/update)"),
    ("GET", "/services", "swarm services (/services)"),
    ("POST", "/services/create", "swarm services (/services/create)"),
    ("GET DELETE", "/services/{id}", "swarm services (/services/{id})"),
    ("POST", "/services/{id}/update", "swarm services (/services/{id}/update)"),
    ("GET", "/services/{id}/logs", "swarm services (/services/{id}/logs)"),
    ("GET", "/tasks", "swarm tasks (/tasks)"),
    ("GET", "/tasks/{id}", "swarm tasks (/tasks/{id})"),
    ("GET", "/tasks/{id}/logs", "swarm tasks (/tasks/{id}/logs)"),
    ("GET", "/secrets", "secrets (/secrets)"),
    ("POST", "/secrets/create", "secrets (/secrets/create)"),
    ("GET DELETE", "/secrets/{id}", "secrets (/secrets/{id})"),
    ("POST", "/secrets/{id}/update", "secrets (/secrets/{id}/update)"),
    ("GET", "/configs", "configs (/configs)"),
    ("POST", "/configs/create", "configs (/configs/create)"),
    ("GET DELETE", "/configs/{id}", "configs (/configs/{id})"),
    ("POST", "/configs/{id}/update", "configs (/configs/{id}/update)"),
    ("GET", "/plugins/privileges", "plugins (/plugins/privileges)"),
    ("POST", "/plugins/pull", "plugins (/plugins/pull)"),
    ("POST", "/plugins/create", "plugins (/plugins/create)"),
    ("POST", "/plugins/{name:.+}/enable", "plugins (/plugins/{name}/enable)"),
    ("POST", "/plugins/{name:.+}/disable", "plugins (/plugins/{name}/disable)"),
    ("POST", "/plugins/{name:.+}/upgrade", "plugins (/plugins/{name}/upgrade)"),
    ("POST", "/plugins/{name:.+}/push", "plugins (/plugins/{name}/push)"),
    ("POST", "/plugins/{name:.+}/set", "plugins (/plugins/{name}/set)"),
    ("DELETE", "/plugins/{name:.+}", "plugins (/plugins/{name})"),
    ("GET", "/debug/vars", "debug variables (/debug/vars)"),
    ("GET", "/debug/pprof{rest:.*}", "Go profiles (/debug/pprof)"),
)


def register(router: Router) -> None:
    for methods, pattern, what in _MISSING:
        for method in methods.split():
            router.missing(method, pattern, what)
