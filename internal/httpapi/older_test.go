package httpapi

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
)

// The hardware address was the container's once; it is shown where it was.
func TestOlderMACAddress(t *testing.T) {
	const shown = `"MacAddress":"02:42:ac:11:00:99"`
	s := serve(t, Options{})
	s.want(201, "", "POST", "/v1.43/containers/create?name=own", `{"Image":"a","MacAddress":"02:42:ac:11:00:99"}`)
	s.want(201, "", "POST", "/v1.56/containers/create?name=endpoint", `{"Image":"a","NetworkingConfig":{"EndpointsConfig":{"bridge":{"MacAddress":"02:42:ac:11:00:99"}}}}`)
	s.want(201, "", "POST", "/v1.43/containers/create?name=none", `{"Image":"a"}`)
	for name, want := range map[string]bool{"own": true, "endpoint": true, "none": false} {
		for v, older := range map[string]bool{"1.41": true, "1.44": true, "1.51": true, "1.52": false, "1.56": false} {
			_, _, body := s.do("GET", "/v"+v+"/containers/"+name+"/json", "")
			_, config, _ := strings.Cut(body, `"Config":{`)
			config, _, _ = strings.Cut(config, `"Labels"`)
			if strings.Contains(config, shown) != (want && older) {
				t.Errorf("%s in %s: got %s", name, v, config)
			}
		}
	}
}

func TestOlderPorts(t *testing.T) {
	list := []container.Summary{{ID: "a", Ports: []container.PortSummary{{PrivatePort: 80, Type: "tcp"}, {IP: netip.MustParseAddr("0.0.0.0"), PrivatePort: 81, PublicPort: 8081, Type: "tcp"}}}}
	got, err := marshal(olderSummaries(list))
	if err != nil {
		t.Fatal(err)
	}
	const want = `"Ports":[{"PrivatePort":80,"Type":"tcp"},{"IP":"0.0.0.0","PrivatePort":81,"PublicPort":8081,"Type":"tcp"}]`
	if !strings.Contains(string(got), want) || strings.Count(string(got), `"Ports"`) != 1 {
		t.Errorf("got %s, want %s", got, want)
	}
	if none := olderSummaries(nil); none == nil {
		t.Error("no list")
	}
}

func TestStringsForArguments(t *testing.T) {
	for in, want := range map[string]container.Config{
		`{"Image":"a","Cmd":"run it","entrypoint":"/bin/sh","Shell":"sh"}`: {Cmd: []string{"run it"}, Entrypoint: []string{"/bin/sh"}, Shell: []string{"sh"}},
		`{"Image":"a","Cmd":["x","y"],"Entrypoint":""}`:                    {Cmd: []string{"x", "y"}, Entrypoint: []string{""}},
		`{"Image":"a","Cmd":null,"Entrypoint":[]}`:                         {Entrypoint: []string{}},
	} {
		var body createBody
		if err := unmarshalCreate([]byte(in), &body); err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		want.Image = "a"
		if !reflect.DeepEqual(*body.Config, want) {
			t.Errorf("%s: got %+v", in, *body.Config)
		}
	}
	s := serve(t, Options{})
	for _, in := range []string{`{"Cmd":1}`, `{"Cmd":{"a":"b"}}`, `["Cmd"]`, `{"Cmd":"x"`, `{"Cmd":"x"}{}`} {
		s.want(400, "JSON", "POST", "/containers/create", in)
	}
}

// Documents of older versions have Docker's order of members: people read them.
func TestOlderMembersAreInOrder(t *testing.T) {
	for name, tc := range map[string]struct {
		base, want string
		extra      fields
	}{
		"front": {`{"Type":"a"}`, `{"status":"s","id":"i","Type":"a"}`, fields{"id": "i", "status": "s"}},
		"inside": {
			`{"Id":"1","Config":{"Env":null,"Entrypoint":["a"],"Labels":{}}}`,
			`{"Id":"1","Parent":"","Comment":"","Config":{"Env":null,"Entrypoint":["a"],"OnBuild":null,"Labels":{}}}`,
			fields{"Comment": "", "Parent": "", "Config": fields{"OnBuild": nil}},
		},
		"unknown": {`{"z":1}`, `{"z":1,"a":2,"b":3}`, fields{"b": 3, "a": 2}},
		"null":    {`null`, `{"a":2}`, fields{"a": 2}},
	} {
		got, err := mergeFields([]byte(tc.base), tc.extra, "")
		if err != nil || string(got) != tc.want {
			t.Errorf("%s: got %s, %v, want %s", name, got, err, tc.want)
		}
	}
}
