package testimage

import "strings"

// canonical completes a familiar name as Docker does: "busybox" is
// "docker.io/library/busybox:latest".
func canonical(name string) string {
	host, rest, ok := strings.Cut(name, "/")
	switch {
	case !ok:
		name = "docker.io/library/" + name
	case !strings.ContainsAny(host, ".:") && host != "localhost":
		name = "docker.io/" + host + "/" + rest
	}
	if !strings.Contains(name[strings.LastIndexByte(name, '/'):], ":") {
		name += ":latest"
	}
	return name
}

// tagOf gives the tag of a name.
func tagOf(name string) string {
	c := canonical(name)
	return c[strings.LastIndexByte(c, ':')+1:]
}
