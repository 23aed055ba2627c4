package event

import (
	"testing"

	"github.com/moby/moby/api/types/events"
)

func TestFilter(t *testing.T) {
	message := func(typ events.Type, action events.Action, id string, kv ...string) events.Message {
		m := events.Message{Type: typ, Action: action, Scope: "local", Actor: events.Actor{ID: id, Attributes: map[string]string{}}}
		for i := 0; i < len(kv); i += 2 {
			m.Actor.Attributes[kv[i]] = kv[i+1]
		}
		return m
	}
	web := message(events.ContainerEventType, events.ActionStart, "4f5e6d", "name", "web-1", "image", "registry.local:5000/nginx:1.27", "tier", "front")
	health := message(events.ContainerEventType, events.ActionHealthStatusHealthy, "4f5e6d", "name", "web-1")
	pull := message(events.ImageEventType, events.ActionPull, "busybox:latest", "name", "busybox")
	connect := message(events.NetworkEventType, events.ActionConnect, "77aa", "name", "bridge", "container", "4f5e6d")
	for _, c := range []struct {
		name string
		m    events.Message
		f    filter
		want bool
	}{
		{"none", web, nil, true},
		{"empty key", web, filter{"type": {}}, true},
		{"type", web, filter{"type": {"image", "container"}}, true},
		{"other type", web, filter{"type": {"image"}}, false},
		{"event", web, filter{"event": {"die", "start"}}, true},
		{"event is exact", web, filter{"event": {"sta"}}, false},
		{"event prefix for health", health, filter{"event": {"health_status"}}, true},
		{"whole health event", health, filter{"event": {"health_status: healthy"}}, true},
		{"other health event", health, filter{"event": {"health_status: unhealthy"}}, false},
		{"container name", web, filter{"container": {"web-1"}}, true},
		{"container name prefix", web, filter{"container": {"web"}}, true},
		{"container ID prefix", web, filter{"container": {"4f5"}}, true},
		{"other container", web, filter{"container": {"5e6"}}, false},
		{"container against a network event", connect, filter{"container": {"4f5e6d"}}, false},
		{"network", connect, filter{"network": {"bridge"}}, true},
		{"image of a container", web, filter{"image": {"registry.local:5000/nginx:1.27"}}, true},
		{"image without tag", web, filter{"image": {"registry.local:5000/nginx"}}, true},
		{"image is exact", web, filter{"image": {"registry.local:5000/ngin"}}, false},
		{"image event", pull, filter{"image": {"busybox"}}, true},
		{"image event with tag", pull, filter{"image": {"busybox:latest"}}, true},
		{"label key", web, filter{"label": {"tier"}}, true},
		{"label value", web, filter{"label": {"tier=front"}}, true},
		{"labels must all match", web, filter{"label": {"tier=front", "zone"}}, false},
		{"other label value", web, filter{"label": {"tier=back"}}, false},
		{"scope", web, filter{"scope": {"local"}}, true},
		{"other scope", web, filter{"scope": {"swarm"}}, false},
		{"keys must all match", web, filter{"type": {"container"}, "event": {"die"}}, false},
		{"unknown key", web, filter{"colour": {"red"}}, true},
	} {
		if got := c.f.match(c.m); got != c.want {
			t.Errorf("%s: %v; want %v", c.name, got, c.want)
		}
	}
}
