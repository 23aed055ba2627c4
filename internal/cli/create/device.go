package create

import (
	"encoding/csv"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"
)

// parseDevices splits --device values into device nodes and qualified CDI names.
func parseDevices(values []string) (devices []container.DeviceMapping, cdi []string, err error) {
	devices = []container.DeviceMapping{}
	for _, v := range values {
		if isCDI(v) {
			cdi = append(cdi, v)
			continue
		}
		d, err := parseDevice(v)
		if err != nil {
			return nil, nil, err
		}
		devices = append(devices, d)
	}
	return devices, cdi, nil
}

// parseDevice reads HOST[:CONTAINER][:rwm]. A second part made only of the
// letters r, w and m is the access, not a path.
func parseDevice(v string) (container.DeviceMapping, error) {
	d := container.DeviceMapping{CgroupPermissions: "rwm"}
	parts := strings.Split(v, ":")
	switch len(parts) {
	case 3:
		if !isAccess(parts[2]) {
			return d, fmt.Errorf("bad mode specified: %s", parts[2])
		}
		d.PathOnHost, d.PathInContainer, d.CgroupPermissions = parts[0], parts[1], parts[2]
	case 2:
		d.PathOnHost, d.PathInContainer = parts[0], parts[1]
		if isAccess(parts[1]) {
			d.PathInContainer, d.CgroupPermissions = "", parts[1]
		}
	case 1:
		d.PathOnHost = parts[0]
	default:
		return d, fmt.Errorf("bad format for path: %s", v)
	}
	if d.PathInContainer == "" {
		d.PathInContainer = d.PathOnHost
	}
	if !path.IsAbs(d.PathInContainer) {
		return d, fmt.Errorf("%s is not an absolute path", d.PathInContainer)
	}
	return d, nil
}

func isAccess(v string) bool {
	if v == "" || len(v) > 3 {
		return false
	}
	for i, r := range v {
		if !strings.ContainsRune("rwm", r) || strings.ContainsRune(v[:i], r) {
			return false
		}
	}
	return true
}

// isCDI tells whether v is a fully qualified CDI device: vendor/class=name.
func isCDI(v string) bool {
	kind, name, ok := strings.Cut(v, "=")
	vendor, class, ok2 := strings.Cut(kind, "/")
	return ok && ok2 && cdiWord(vendor, ".") && cdiWord(class, "") && cdiWord(name, ".:")
}

func cdiWord(w, extra string) bool {
	if w == "" || !alnum(w[len(w)-1]) {
		return false
	}
	for i := range len(w) {
		if c := w[i]; !alnum(c) && (i == 0 || !strings.ContainsRune("-_"+extra, rune(c))) {
			return false
		}
	}
	return true
}

func alnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// weightDevices is --blkio-weight-device DEVICE:WEIGHT.
type weightDevices struct{ values []*blkiodev.WeightDevice }

func (w *weightDevices) String() string { return "" }
func (w *weightDevices) Type() string   { return "list" }
func (w *weightDevices) Set(v string) error {
	dev, weight, ok := strings.Cut(v, ":")
	if !ok || dev == "" {
		return fmt.Errorf("bad format: %s", v)
	}
	if !strings.HasPrefix(dev, "/dev/") {
		return fmt.Errorf("bad format for device path: %s", v)
	}
	n, err := strconv.ParseUint(weight, 10, 16)
	if err != nil || n > 0 && (n < 10 || n > 1000) {
		return fmt.Errorf("invalid weight for device: %s", v)
	}
	w.values = append(w.values, &blkiodev.WeightDevice{Path: dev, Weight: uint16(n)})
	return nil
}

// throttleDevices is --device-{read,write}-{bps,iops} DEVICE:RATE.
type throttleDevices struct {
	values []*blkiodev.ThrottleDevice
	sized  bool // the rate is a size with a unit
}

func (t *throttleDevices) bytes() *throttleDevices  { t.sized = true; return t }
func (t *throttleDevices) counts() *throttleDevices { return t }
func (t *throttleDevices) String() string           { return "" }
func (t *throttleDevices) Type() string             { return "list" }

func (t *throttleDevices) Set(v string) error {
	dev, rate, ok := strings.Cut(v, ":")
	if !ok || dev == "" {
		return fmt.Errorf("bad format: %s", v)
	}
	if !strings.HasPrefix(dev, "/dev/") {
		return fmt.Errorf("bad format for device path: %s", v)
	}
	n, err := t.rate(rate)
	if err != nil {
		hint := "The correct format is <device-path>:<number>. Number must be a positive integer"
		if t.sized {
			hint = "The correct format is <device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb"
		}
		return fmt.Errorf("invalid rate for device: %s. %s", v, hint)
	}
	t.values = append(t.values, &blkiodev.ThrottleDevice{Path: dev, Rate: n})
	return nil
}

func (t *throttleDevices) rate(v string) (uint64, error) {
	if !t.sized {
		return strconv.ParseUint(v, 10, 64)
	}
	n, err := units.RAMInBytes(v)
	if err == nil && n < 0 {
		err = errors.New("negative")
	}
	return uint64(n), err
}

// gpus is --gpus all|N|"device=…",capabilities=….
type gpus struct{ values []container.DeviceRequest }

func (g *gpus) String() string { return "" }
func (g *gpus) Type() string   { return "gpu-request" }

func (g *gpus) Set(v string) error {
	fields, err := csv.NewReader(strings.NewReader(v)).Read()
	if err != nil {
		return err
	}
	req := container.DeviceRequest{Options: map[string]string{}}
	seen := map[string]bool{}
	var caps []string
	for _, field := range fields {
		key, val, ok := strings.Cut(field, "=")
		if seen[key] {
			return fmt.Errorf("gpu request key '%s' can be specified only once", key)
		}
		seen[key] = true
		if !ok {
			key, val = "count", field
			seen["count"] = true
		}
		switch key {
		case "driver":
			req.Driver = val
		case "count":
			if req.Count, err = gpuCount(val); err != nil {
				return err
			}
		case "device":
			req.DeviceIDs = strings.Split(val, ",")
		case "capabilities":
			caps = strings.Split(val, ",")
		case "options":
			pairs, err := csv.NewReader(strings.NewReader(val)).Read()
			if err != nil {
				return fmt.Errorf("invalid gpu options: %w", err)
			}
			for _, p := range pairs {
				k, o, _ := strings.Cut(p, "=")
				req.Options[k] = o
			}
		default:
			return fmt.Errorf("unexpected key '%s' in '%s'", key, field)
		}
	}
	if !seen["count"] && req.DeviceIDs == nil {
		req.Count = 1
	}
	if !slices.Contains(caps, "gpu") {
		caps = append(caps, "gpu")
	}
	req.Capabilities = [][]string{caps}
	g.values = append(g.values, req)
	return nil
}

func gpuCount(v string) (int, error) {
	if v == "all" {
		return -1, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		return 0, fmt.Errorf("invalid count (%s): value must be either \"all\" or an integer: %w", v, errors.Unwrap(err))
	}
	return n, nil
}
