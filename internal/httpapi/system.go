package httpapi

import (
	"net/http"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/api/types/system"
)

func (a *api) ping(w *reply, r *request) error {
	h := w.Header()
	h.Set("Cache-Control", "no-cache, no-store, must-revalidate")
	h.Set("Pragma", "no-cache")
	h.Set("Builder-Version", a.opts.BuilderVersion)
	h.Set("Swarm", string(swarm.LocalNodeStateInactive))
	h.Set("Content-Type", "text/plain; charset=utf-8")
	if r.Method == http.MethodHead {
		h.Set("Content-Length", "0")
		w.WriteHeader(http.StatusOK)
		return nil
	}
	_, err := w.Write([]byte("OK"))
	return err
}

// systemVersion adds what only the API knows: its own versions.
func (a *api) systemVersion(w *reply, r *request) error {
	v, err := a.backend.System.Version(r.Context())
	if err != nil {
		return err
	}
	v.APIVersion, v.MinAPIVersion = MaxVersion, a.min.String()
	for i := range v.Components {
		details := v.Components[i].Details
		if _, has := details["ApiVersion"]; has {
			details["ApiVersion"], details["MinAPIVersion"] = v.APIVersion, v.MinAPIVersion
		}
	}
	return w.json(http.StatusOK, v)
}

func (a *api) systemInfo(w *reply, r *request) error {
	info, err := a.backend.System.Info(r.Context())
	if err != nil {
		return err
	}
	if !r.version.before(53) {
		return w.json(http.StatusOK, info)
	}
	v, err := withFields(olderInfo(&info, r.version), olderInfoFields(&info, r.version))
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, v)
}

// olderInfo takes away what came after v.
func olderInfo(info *system.Info, v version) *system.Info {
	info.NRI = nil
	if v.before(50) {
		info.DiscoveredDevices = nil
	}
	if v.before(49) {
		info.FirewallBackend = nil
	}
	if v.before(46) {
		info.Containerd = nil
	}
	if v.before(44) {
		for name, runtime := range info.Runtimes {
			runtime.Status = nil
			info.Runtimes[name] = runtime
		}
	}
	return info
}

// olderInfoFields are members that have been dropped since v.
func olderInfoFields(info *system.Info, v version) fields {
	extra := fields{}
	if v.before(50) {
		extra["BridgeNfIptables"], extra["BridgeNfIp6tables"] = false, false
	}
	if v.before(49) {
		extra["RegistryConfig"] = fields{"AllowNondistributableArtifactsCIDRs": nil, "AllowNondistributableArtifactsHostnames": nil}
		extra["ContainerdCommit"] = fields{"Expected": info.ContainerdCommit.ID}
		extra["RuncCommit"] = fields{"Expected": info.RuncCommit.ID}
		extra["InitCommit"] = fields{"Expected": info.InitCommit.ID}
	}
	return extra
}

// auth checks credentials. They come as a JSON body of any content type.
func (a *api) auth(w *reply, r *request) error {
	r.Body = http.MaxBytesReader(nil, r.Body, maxJSONBody)
	credentials, err := authconfig.DecodeRequestBody(r.Body)
	if err != nil {
		return errs.Wrap(errs.InvalidArgument, err)
	}
	answer, err := a.backend.System.Auth(r.Context(), *credentials)
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, answer)
}
