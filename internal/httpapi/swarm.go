package httpapi

import "github.com/gantry-run/gantry/internal/errs"

// notManager answers for everything that only a swarm manager can do.
func notManager(*api, *reply, *request) error {
	return errs.New(errs.Unavailable, `This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.`)
}

// notInSwarm answers for what only a member of a swarm can do.
func notInSwarm(*api, *reply, *request) error {
	return errs.New(errs.Unavailable, "This node is not part of a swarm")
}

// notClusterVolume answers for updates of volumes, which only cluster volumes have.
func notClusterVolume(*api, *reply, *request) error {
	return errs.New(errs.Unavailable, "volume update only valid for cluster volumes, but swarm is unavailable")
}
