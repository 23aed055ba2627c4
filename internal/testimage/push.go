package testimage

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Registry is a registry to push to.
type Registry struct {
	URL                string // such as "http://127.0.0.1:5000"
	Username, Password string // basic authentication, if set
	Client             *http.Client
}

// Push stores the image under repo:tag.
func (r Registry) Push(ctx context.Context, repo, tag string, i Image) error {
	if err := r.pushContent(ctx, repo, i); err != nil {
		return err
	}
	return r.putManifest(ctx, repo, tag, i.Descriptor().MediaType, i.Manifest)
}

// PushIndex stores the images under a common index as repo:tag.
func (r Registry) PushIndex(ctx context.Context, repo, tag string, f Flavour, images ...Image) error {
	for _, i := range images {
		if err := r.pushContent(ctx, repo, i); err != nil {
			return err
		}
		if err := r.putManifest(ctx, repo, i.Descriptor().Digest.String(), i.Descriptor().MediaType, i.Manifest); err != nil {
			return err
		}
	}
	index, err := Index(f, images...)
	if err != nil {
		return err
	}
	return r.putManifest(ctx, repo, tag, indexType(f), index)
}

func (r Registry) pushContent(ctx context.Context, repo string, i Image) error {
	for d, data := range i.blobs() {
		if err := r.putBlob(ctx, repo, d, data); err != nil {
			return err
		}
	}
	return nil
}

func (r Registry) putBlob(ctx context.Context, repo string, d digest.Digest, data []byte) error {
	resp, err := r.do(ctx, http.MethodPost, "/v2/"+repo+"/blobs/uploads/", "", nil)
	if err != nil {
		return fmt.Errorf("push blob %s: %w", d, err)
	}
	loc, err := url.Parse(resp.Header.Get("Location"))
	if err != nil {
		return fmt.Errorf("push blob %s: %w", d, err)
	}
	q := loc.Query()
	q.Set("digest", d.String())
	target := loc.Path + "?" + q.Encode()
	if _, err := r.do(ctx, http.MethodPut, target, "application/octet-stream", data); err != nil {
		return fmt.Errorf("push blob %s: %w", d, err)
	}
	return nil
}

func (r Registry) putManifest(ctx context.Context, repo, ref, mediaType string, data []byte) error {
	if _, err := r.do(ctx, http.MethodPut, "/v2/"+repo+"/manifests/"+ref, mediaType, data); err != nil {
		return fmt.Errorf("push manifest %s:%s: %w", repo, ref, err)
	}
	return nil
}

func (r Registry) do(ctx context.Context, method, target, contentType string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(r.URL, "/")+target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if r.Username != "" {
		req.SetBasicAuth(r.Username, r.Password)
	}
	client := r.Client
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		return nil, fmt.Errorf("%s %s: %s: %s", method, req.URL.Path, resp.Status, text)
	}
	return resp, nil
}
