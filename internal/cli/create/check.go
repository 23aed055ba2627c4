package create

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

func checkStream(v string) (string, error) {
	switch s := strings.ToLower(v); s {
	case "stdin", "stdout", "stderr":
		return s, nil
	}
	return v, errors.New("valid streams are STDIN, STDOUT and STDERR")
}

func checkIP(v string) (string, error) {
	ip, err := netip.ParseAddr(strings.TrimSpace(v))
	if err != nil || ip.Zone() != "" {
		return "", fmt.Errorf("IP address is not correctly formatted: %s", v)
	}
	return ip.String(), nil
}

// checkDNSSearch accepts a domain, or "." for no search at all.
func checkDNSSearch(v string) (string, error) {
	v = strings.TrimSpace(v)
	if v == "." {
		return v, nil
	}
	domain := strings.TrimSuffix(v, ".")
	if domain == "" || len(v) > 255 {
		return "", fmt.Errorf("%s is not a valid domain", v)
	}
	letters := false
	for label := range strings.SplitSeq(domain, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return "", fmt.Errorf("%s is not a valid domain", v)
		}
		for _, r := range label {
			switch {
			case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z':
				letters = true
			case r >= '0' && r <= '9', r == '-', r == '_':
			default:
				return "", fmt.Errorf("%s is not a valid domain", v)
			}
		}
	}
	if !letters {
		return "", fmt.Errorf("%s is not a valid domain", v)
	}
	return domain, nil
}

// checkExtraHost accepts host:ip and host=ip, an IPv6 address also in
// brackets, and the special address host-gateway.
func checkExtraHost(v string) (string, error) {
	host, ip, ok := cutHost(v)
	if !ok || host == "" {
		return "", fmt.Errorf("bad format for add-host: %q", v)
	}
	if ip == "host-gateway" {
		return host + ":" + ip, nil
	}
	bare := ip
	if len(ip) > 2 && ip[0] == '[' && ip[len(ip)-1] == ']' {
		bare = ip[1 : len(ip)-1]
	}
	if _, err := checkIP(bare); err != nil {
		return "", fmt.Errorf("invalid IP address in add-host: %q", ip)
	}
	return host + ":" + bare, nil
}

func cutHost(v string) (host, ip string, ok bool) {
	if host, ip, ok = strings.Cut(v, "="); ok {
		return host, ip, true
	}
	return strings.Cut(v, ":")
}

func checkLink(v string) (string, error) {
	if v == "" {
		return "", errors.New("empty string specified for links")
	}
	if strings.Count(v, ":") > 1 {
		return "", fmt.Errorf("bad format for links: %s", v)
	}
	return v, nil
}

// checkSysctl refuses parameters that belong to no namespace, before the
// daemon has done any work.
func checkSysctl(v string) error {
	key, _, ok := strings.Cut(v, "=")
	if ok {
		switch key {
		case "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem",
			"kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced":
			return nil
		}
		if strings.HasPrefix(key, "net.") || strings.HasPrefix(key, "fs.mqueue.") {
			return nil
		}
	}
	return fmt.Errorf("sysctl '%s' is not allowed", v)
}

// checkDeviceRule accepts "type major:minor access".
func checkDeviceRule(v string) (string, error) {
	// Compiled on use: the flag is rare and start-up time is not.
	if ok, err := regexp.MatchString(`^[acb] ([0-9]+|\*):([0-9]+|\*) [rwm]{1,3}$`, v); err != nil || !ok {
		return "", fmt.Errorf("invalid device cgroup format '%s'", v)
	}
	return v, nil
}
