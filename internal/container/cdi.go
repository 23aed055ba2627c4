package container

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"tags.cncf.io/container-device-interface/pkg/cdi"

	"github.com/gantry-run/gantry/internal/errs"
)

// cdiDriver is the name of requests for devices by their CDI names, as --device
// vendor.com/class=name makes them.
const cdiDriver = "cdi"

// injectDevices adds what the CDI specifications say of the requested devices to
// a spec. They are read anew for each start: vendors' tools rewrite them.
func (s *Service) injectDevices(sp *specs.Spec, requests []container.DeviceRequest) error {
	if len(requests) == 0 {
		return nil
	}
	cache, err := cdi.NewCache(cdi.WithSpecDirs(s.Defaults.CDISpecDirs...), cdi.WithAutoRefresh(false))
	if err != nil {
		return errs.New(errs.Internal, "read CDI specifications: %w", err)
	}
	var names []string
	for i := range requests {
		found, err := cdiNames(&requests[i], cache.ListDevices())
		if err != nil {
			return err
		}
		names = append(names, found...)
	}
	if _, err := cache.InjectDevices(sp, names...); err != nil {
		return errs.New(errs.InvalidArgument, "CDI device injection failed: %w", err)
	}
	return nil
}

// cdiNames turns one request into names of devices. A request by capability,
// which --gpus makes, goes to the vendor whose class the capability is.
func cdiNames(r *container.DeviceRequest, known []string) ([]string, error) {
	if r.Driver == cdiDriver {
		return r.DeviceIDs, nil
	}
	kind := ""
	for _, name := range known {
		k, _, _ := strings.Cut(name, "=")
		vendor, class, _ := strings.Cut(k, "/")
		if wanted(r.Capabilities, class) && (r.Driver == "" || strings.HasPrefix(vendor, r.Driver+".")) {
			kind = k
			break
		}
	}
	if kind == "" {
		return nil, errs.New(errs.InvalidArgument, "could not select device driver %q with capabilities: %v", r.Driver, r.Capabilities)
	}
	ids := slices.Clone(r.DeviceIDs)
	switch {
	case len(ids) > 0:
	case r.Count < 0:
		ids = []string{"all"}
	default:
		for i := range r.Count {
			ids = append(ids, strconv.Itoa(i))
		}
	}
	for i, id := range ids {
		ids[i] = fmt.Sprintf("%s=%s", kind, id)
	}
	return ids, nil
}

// wanted tells whether one of the alternatives of a request asks for a class.
func wanted(alternatives [][]string, class string) bool {
	return slices.ContainsFunc(alternatives, func(all []string) bool { return slices.Contains(all, class) })
}
