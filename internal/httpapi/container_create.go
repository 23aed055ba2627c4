package httpapi

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// createBody is the request's document with what older clients may send and
// today's type lacks.
type createBody struct {
	container.CreateRequest
	older olderCreate
}

type olderCreate struct {
	MacAddress string
	HostConfig struct {
		Capabilities []string
	}
}

func (a *api) containerCreate(w *reply, r *request) error {
	body, err := r.decodeCreate()
	if err != nil {
		return err
	}
	platform, err := r.createPlatform()
	if err != nil {
		return err
	}
	warnings, err := adaptCreate(body, r.version)
	if err != nil {
		return err
	}
	answer, err := a.backend.Containers.Create(r.Context(), engine.ContainerCreate{
		Name: r.query.Get("name"), Platform: platform,
		Config: body.Config, Host: body.HostConfig, Network: body.NetworkingConfig,
	})
	if err != nil {
		return err
	}
	answer.Warnings = append(orEmpty(answer.Warnings), warnings...)
	return w.json(http.StatusCreated, answer)
}

// decodeCreate decodes the body and fills in the parts that every later step
// takes for granted.
func (r *request) decodeCreate() (*createBody, error) {
	if err := r.checkJSON(); err != nil {
		return nil, err
	}
	data, err := r.readBody()
	if err != nil {
		return nil, err
	}
	body := &createBody{}
	if err := unmarshalCreate(data, body); err != nil {
		return nil, err
	}
	if body.Config == nil {
		return nil, errs.New(errs.InvalidArgument, "config cannot be empty in order to create a container")
	}
	if body.Config.Volumes == nil {
		body.Config.Volumes = map[string]struct{}{}
	}
	if body.HostConfig == nil {
		body.HostConfig = &container.HostConfig{}
	}
	if body.NetworkingConfig == nil {
		body.NetworkingConfig = &network.NetworkingConfig{}
	}
	if body.NetworkingConfig.EndpointsConfig == nil {
		body.NetworkingConfig.EndpointsConfig = map[string]*network.EndpointSettings{}
	}
	return body, nil
}

// unmarshalCreate decodes a create request. Docker took single strings for lists
// of arguments until 1.51, and clients rely on it.
func unmarshalCreate(data []byte, body *createBody) error {
	data = listArguments(data)
	// Docker names the decoder's own error here, "EOF" for an empty body.
	if err := unmarshalBody(data, &body.CreateRequest); err != nil {
		if len(data) == 0 {
			return errs.New(errs.InvalidArgument, "invalid JSON: EOF")
		}
		return cmp.Or(checkAddresses(data), err)
	}
	// The same document was valid a moment ago; members of other types than
	// expected are as good as absent.
	_ = unmarshalBody(data, &body.older)
	return nil
}

// listArguments makes lists of the arguments that are single strings. What is
// no object stays as it is, for others to complain.
func listArguments(data []byte) []byte {
	var object map[string]json.RawMessage
	if json.Unmarshal(data, &object) != nil {
		return data
	}
	changed := false
	for key, value := range object {
		switch strings.ToLower(key) {
		case "cmd", "entrypoint", "shell":
			if len(value) > 0 && value[0] == '"' {
				object[key], changed = slices.Concat([]byte("["), value, []byte("]")), true
			}
		}
	}
	if !changed {
		return data
	}
	out, err := json.Marshal(object)
	if err != nil {
		return data
	}
	return out
}
