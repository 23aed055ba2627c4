package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/distribution/distribution/v3/registry/auth/token"
	"github.com/go-jose/go-jose/v4"
	"golang.org/x/crypto/bcrypt"
)

const (
	service    = "test-registry"
	issuerName = "test-issuer"
	keyID      = "test-key"
)

// htpasswd writes a password file of one user and returns its path.
func htpasswd(dir, user, password string) (string, error) {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "htpasswd")
	return file, os.WriteFile(file, fmt.Appendf(nil, "%s:%s\n", user, hash), 0o600)
}

// issuer is a token server as the distribution specification describes it:
// anonymous users may pull from repositories below public/, the known user may
// do everything, a wrong password gives 401.
type issuer struct {
	user, password string
	signer         jose.Signer
	public         ed25519.PublicKey
}

func newIssuer(user, password string) (*issuer, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: private, KeyID: keyID}},
		(&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, err
	}
	return &issuer{user: user, password: password, signer: signer, public: public}, nil
}

func (i *issuer) writeKeys(dir string) (string, error) {
	data, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{
		Key: i.public, KeyID: keyID, Algorithm: string(jose.EdDSA), Use: "sig",
	}}})
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "jwks.json")
	return file, os.WriteFile(file, data, 0o600)
}

// ServeHTTP answers both forms of the token request: GET with basic
// authentication and POST with form fields (OAuth2).
func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	user, password, ok := r.BasicAuth()
	if r.Method == http.MethodPost && r.PostForm.Get("username") != "" {
		user, password, ok = r.PostForm.Get("username"), r.PostForm.Get("password"), true
	}
	known := ok && user == i.user && password == i.password
	if ok && !known {
		http.Error(w, `{"details":"incorrect username or password"}`, http.StatusUnauthorized)
		return
	}
	now := time.Now()
	claims, err := json.Marshal(token.ClaimSet{
		Issuer: issuerName, Subject: user, Audience: token.AudienceList{service},
		Expiration: now.Add(time.Minute).Unix(), NotBefore: now.Add(-time.Minute).Unix(), IssuedAt: now.Unix(),
		JWTID: rand.Text(), Access: grant(r.Form["scope"], known),
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	signed, err := i.signer.Sign(claims)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"token": text, "access_token": text, "expires_in": 60}) // the client is gone
}

// grant parses scopes of the form repository:name:action,action.
func grant(scopes []string, known bool) []*token.ResourceActions {
	var all []*token.ResourceActions
	for _, field := range scopes {
		for scope := range strings.FieldsSeq(field) {
			kind, rest, _ := strings.Cut(scope, ":")
			at := strings.LastIndexByte(rest, ':')
			if at < 0 {
				continue
			}
			name, actions := rest[:at], strings.Split(rest[at+1:], ",")
			if !known {
				if !strings.HasPrefix(name, "public/") {
					continue
				}
				actions = []string{"pull"}
			}
			all = append(all, &token.ResourceActions{Type: kind, Name: name, Actions: actions})
		}
	}
	return all
}
