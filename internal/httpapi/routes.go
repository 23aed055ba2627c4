package httpapi

// route is one endpoint.
type route struct {
	method string
	// path is below the version prefix and holds at most two {variables}. The first
	// takes everything up to the fixed part after it, slashes included; the second is
	// at the end.
	path string
	// handle decodes, calls and encodes.
	handle func(*api, *reply, *request) error
	// since is the API version that introduced the endpoint; zero: older than
	// all that are served.
	since version
	// detached work goes on when the client hangs up: half a stop helps nobody.
	detached bool
	// experimental endpoints are served only by a daemon that is set so.
	experimental bool
	// limit says what the endpoint cannot do yet; "" for nothing.
	limit string
}

// outside is the limit of endpoints that need a swarm.
const outside = "answers as a node outside of a swarm"

// routes are all endpoints. docs/reference/compatibility.md is made from it.
var routes = []route{
	{method: "GET", path: "/_ping", handle: (*api).ping},
	{method: "HEAD", path: "/_ping", handle: (*api).ping},
	{method: "GET", path: "/version", handle: (*api).systemVersion},
	{method: "GET", path: "/info", handle: (*api).systemInfo},
	{method: "GET", path: "/system/df", handle: (*api).systemDiskUsage},
	{method: "GET", path: "/events", handle: (*api).events},
	{method: "POST", path: "/auth", handle: (*api).auth},

	{method: "GET", path: "/containers/json", handle: (*api).containerList},
	{method: "POST", path: "/containers/create", handle: (*api).containerCreate},
	{method: "POST", path: "/containers/prune", handle: (*api).containerPrune, since: version{1, 25}, detached: true},
	{method: "GET", path: "/containers/{name}/json", handle: (*api).containerInspect},
	{method: "GET", path: "/containers/{name}/top", handle: (*api).containerTop},
	{method: "GET", path: "/containers/{name}/changes", handle: (*api).containerChanges},
	{method: "GET", path: "/containers/{name}/export", handle: (*api).containerExport},
	{method: "HEAD", path: "/containers/{name}/archive", handle: (*api).archiveStat},
	{method: "GET", path: "/containers/{name}/archive", handle: (*api).archiveGet},
	{method: "PUT", path: "/containers/{name}/archive", handle: (*api).archivePut},
	{method: "GET", path: "/containers/{name}/logs", handle: (*api).containerLogs},
	{method: "GET", path: "/containers/{name}/stats", handle: (*api).containerStats},
	{method: "GET", path: "/containers/{name}/attach/ws", handle: (*api).containerAttachWebsocket},
	{method: "POST", path: "/containers/{name}/attach", handle: (*api).containerAttach},
	{method: "POST", path: "/containers/{name}/start", handle: (*api).containerStart, detached: true},
	{method: "POST", path: "/containers/{name}/stop", handle: (*api).containerStop, detached: true},
	{method: "POST", path: "/containers/{name}/restart", handle: (*api).containerRestart, detached: true},
	{method: "POST", path: "/containers/{name}/kill", handle: (*api).containerKill, detached: true},
	{method: "POST", path: "/containers/{name}/pause", handle: (*api).containerPause, detached: true},
	{method: "POST", path: "/containers/{name}/unpause", handle: (*api).containerUnpause, detached: true},
	{method: "POST", path: "/containers/{name}/rename", handle: (*api).containerRename, detached: true},
	{method: "POST", path: "/containers/{name}/update", handle: (*api).containerUpdate, detached: true},
	{method: "POST", path: "/containers/{name}/resize", handle: (*api).containerResize},
	{method: "POST", path: "/containers/{name}/wait", handle: (*api).containerWait},
	{method: "POST", path: "/containers/{name}/exec", handle: (*api).execCreate},
	{method: "POST", path: "/containers/{name}/checkpoints", handle: (*api).checkpointCreate, experimental: true, detached: true},
	{method: "GET", path: "/containers/{name}/checkpoints", handle: (*api).checkpointList, experimental: true},
	{method: "DELETE", path: "/containers/{name}/checkpoints/{checkpoint}", handle: (*api).checkpointRemove, experimental: true, detached: true},
	{method: "DELETE", path: "/containers/{name}", handle: (*api).containerRemove, detached: true},

	{method: "POST", path: "/exec/{name}/start", handle: (*api).execStart, detached: true},
	{method: "POST", path: "/exec/{name}/resize", handle: (*api).execResize},
	{method: "GET", path: "/exec/{name}/json", handle: (*api).execInspect},

	{method: "GET", path: "/images/json", handle: (*api).imageList},
	{method: "GET", path: "/images/get", handle: (*api).imageSave},
	{method: "POST", path: "/commit", handle: (*api).commit, detached: true},
	{method: "POST", path: "/images/create", handle: (*api).imageCreate},
	{method: "POST", path: "/images/load", handle: (*api).imageLoad},
	{method: "POST", path: "/images/prune", handle: (*api).imagePrune, since: version{1, 25}, detached: true},
	{method: "GET", path: "/images/{name}/get", handle: (*api).imageSave},
	{method: "GET", path: "/images/{name}/json", handle: (*api).imageInspect},
	{method: "GET", path: "/images/{name}/history", handle: (*api).imageHistory},
	{method: "POST", path: "/images/{name}/push", handle: (*api).imagePush},
	{method: "POST", path: "/images/{name}/tag", handle: (*api).imageTag},
	{method: "DELETE", path: "/images/{name}", handle: (*api).imageRemove, detached: true, limit: "all platforms of an image at once"},

	{method: "GET", path: "/networks", handle: (*api).networkList},
	{method: "GET", path: "/networks/", handle: (*api).networkList},
	{method: "POST", path: "/networks/prune", handle: (*api).networkPrune, since: version{1, 25}, detached: true, limit: "Docker's own networks are all that there are"},
	{method: "GET", path: "/networks/{name}", handle: (*api).networkInspect},

	{method: "POST", path: "/build/prune", handle: (*api).buildPrune, since: version{1, 31}, limit: "there is no build cache"},

	{method: "GET", path: "/volumes", handle: (*api).volumeList},
	{method: "POST", path: "/volumes/create", handle: (*api).volumeCreate},
	{method: "POST", path: "/volumes/prune", handle: (*api).volumePrune, since: version{1, 25}, detached: true},
	{method: "GET", path: "/volumes/{name}", handle: (*api).volumeInspect},
	{method: "DELETE", path: "/volumes/{name}", handle: (*api).volumeRemove, detached: true},

	// Without swarm mode these answer what Docker answers outside of a swarm.
	{method: "GET", path: "/swarm", handle: notManager, limit: outside},
	{method: "GET", path: "/swarm/unlockkey", handle: notManager, limit: outside},
	{method: "POST", path: "/swarm/update", handle: notManager, limit: outside},
	{method: "POST", path: "/swarm/leave", handle: notInSwarm, limit: outside},
	{method: "GET", path: "/nodes", handle: notManager, limit: outside},
	{method: "GET", path: "/nodes/{id}", handle: notManager, limit: outside},
	{method: "DELETE", path: "/nodes/{id}", handle: notManager, limit: outside},
	{method: "POST", path: "/nodes/{id}/update", handle: notManager, limit: outside},
	{method: "GET", path: "/services", handle: notManager, limit: outside},
	{method: "POST", path: "/services/create", handle: notManager, limit: outside},
	{method: "GET", path: "/services/{id}", handle: notManager, limit: outside},
	{method: "DELETE", path: "/services/{id}", handle: notManager, limit: outside},
	{method: "POST", path: "/services/{id}/update", handle: notManager, limit: outside},
	{method: "GET", path: "/services/{id}/logs", handle: notManager, limit: outside},
	{method: "GET", path: "/tasks", handle: notManager, limit: outside},
	{method: "GET", path: "/tasks/{id}", handle: notManager, limit: outside},
	{method: "GET", path: "/tasks/{id}/logs", handle: notManager, limit: outside},
	{method: "GET", path: "/secrets", handle: notManager, limit: outside, since: version{1, 25}},
	{method: "POST", path: "/secrets/create", handle: notManager, limit: outside, since: version{1, 25}},
	{method: "GET", path: "/secrets/{id}", handle: notManager, limit: outside, since: version{1, 25}},
	{method: "DELETE", path: "/secrets/{id}", handle: notManager, limit: outside, since: version{1, 25}},
	{method: "POST", path: "/secrets/{id}/update", handle: notManager, limit: outside, since: version{1, 25}},
	{method: "GET", path: "/configs", handle: notManager, limit: outside, since: version{1, 30}},
	{method: "POST", path: "/configs/create", handle: notManager, limit: outside, since: version{1, 30}},
	{method: "GET", path: "/configs/{id}", handle: notManager, limit: outside, since: version{1, 30}},
	{method: "DELETE", path: "/configs/{id}", handle: notManager, limit: outside, since: version{1, 30}},
	{method: "POST", path: "/configs/{id}/update", handle: notManager, limit: outside, since: version{1, 30}},
	{method: "PUT", path: "/volumes/{name}", handle: notClusterVolume, limit: outside, since: version{1, 42}},
}
