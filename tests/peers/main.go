// A registry that has the referrers API, which docker-registry lacks, for the
// integration tests: go-containerregistry's own, in memory, on a free port.
//
// What differs from the specification is mended here. Its lists give the
// config's media type although a manifest has an artifactType, come in random
// order, are not filtered, and are a 404 for a repository that has no manifest.
// It answers a manifest with a subject without OCI-Subject. It keeps the tags of
// a manifest that is deleted by its digest.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

type server struct{ inner http.Handler }

func (s server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if repo, _, found := strings.Cut(r.URL.Path, "/referrers/"); found && r.Method == http.MethodGet {
		s.list(w, r, repo)
		return
	}
	if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		var manifest struct{ Subject *v1.Descriptor }
		if json.Unmarshal(body, &manifest) == nil && manifest.Subject != nil {
			w.Header().Set("OCI-Subject", manifest.Subject.Digest.String())
		}
	}
	if repo, name, found := strings.Cut(r.URL.Path, "/manifests/"); found && r.Method == http.MethodDelete {
		s.untag(repo, name)
	}
	s.inner.ServeHTTP(w, r)
}

// Deletes the tags of a manifest that is about to be deleted by its digest.
func (s server) untag(repo, digest string) {
	var list struct{ Tags []string }
	json.Unmarshal(s.get(repo+"/tags/list").Body.Bytes(), &list)
	for _, tag := range list.Tags {
		path := repo + "/manifests/" + tag
		if s.get(path).Header().Get("Docker-Content-Digest") == digest {
			s.inner.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodDelete, path, nil))
		}
	}
}

// What the inner registry answers to a GET.
func (s server) get(path string) *httptest.ResponseRecorder {
	answer := httptest.NewRecorder()
	s.inner.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, nil))
	return answer
}

func (s server) list(w http.ResponseWriter, r *http.Request, repo string) {
	answer := s.get(r.URL.Path)
	if answer.Code == http.StatusBadRequest {
		http.Error(w, answer.Body.String(), answer.Code)
		return
	}
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	var found v1.IndexManifest
	if answer.Code == http.StatusOK {
		json.Unmarshal(answer.Body.Bytes(), &found)
	}
	wanted := r.URL.Query().Get("artifactType")
	index.Manifests = []v1.Descriptor{}
	for _, one := range found.Manifests {
		var manifest struct{ ArtifactType string }
		json.Unmarshal(s.get(repo+"/manifests/"+one.Digest.String()).Body.Bytes(), &manifest)
		if manifest.ArtifactType != "" {
			one.ArtifactType = manifest.ArtifactType
		}
		if wanted == "" || wanted == one.ArtifactType {
			index.Manifests = append(index.Manifests, one)
		}
	}
	slices.SortFunc(index.Manifests, func(a, b v1.Descriptor) int {
		return strings.Compare(a.Digest.String(), b.Digest.String())
	})
	if wanted != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	w.Header().Set("Content-Type", string(types.OCIImageIndex))
	json.NewEncoder(w).Encode(index)
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	// The words that docker-registry uses: the tests look for the port there.
	fmt.Fprintf(os.Stderr, "msg=\"listening on %s\"\n", listener.Addr())
	quiet := registry.Logger(log.New(io.Discard, "", 0))
	inner := registry.New(registry.WithReferrersSupport(true), quiet)
	log.Fatal(http.Serve(listener, server{inner}))
}
