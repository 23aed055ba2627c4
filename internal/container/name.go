package container

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	mathrand "math/rand/v2"
	"regexp"
	"strings"
	"sync"

	"github.com/gantry-run/gantry/internal/errs"
)

// namePattern is Docker's rule for container names.
var namePattern = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^/?[a-zA-Z0-9][a-zA-Z0-9_.-]+$`)
})

// newID gives 64 hexadecimal digits. An ID whose short form is all digits is
// avoided: it would be a bad host name.
func newID() string {
	for {
		var b [32]byte
		_, _ = rand.Read(b[:]) // never fails (crypto/rand)
		id := hex.EncodeToString(b[:])
		if strings.Trim(id[:12], "0123456789") != "" {
			return id
		}
	}
}

// reserve books the name for c, or a generated one if name is empty.
func (s *Service) reserve(c *ctr, name string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if name != "" {
		return name, s.bookName(c, name)
	}
	for try := range 100 {
		name = generateName(try)
		if s.byName[name] == nil {
			s.byName[name] = c
			return name, nil
		}
	}
	name = c.rec.ID[:12]
	return name, s.bookName(c, name)
}

func (s *Service) bookName(c *ctr, name string) error {
	if !namePattern().MatchString(name) {
		return errs.New(errs.InvalidArgument, "Invalid container name (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", name)
	}
	name = strings.TrimPrefix(name, "/")
	if other := s.byName[name]; other != nil && other != c {
		return errs.New(errs.Conflict, "Conflict. The container name %q is already in use by container %q. You have to remove (or rename) that container to be able to reuse that name.", "/"+name, other.rec.ID)
	}
	s.byName[name] = c
	return nil
}

func (s *Service) releaseName(c *ctr, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byName[name] == c {
		delete(s.byName, name)
	}
}

var adjectives = strings.Fields(`able agile amber ample azure bold brave breezy bright brisk calm candid clever cosmic crisp
daring deft eager early earnest easy fair famous fleet fond frank fresh gentle glad golden grand green happy hardy humble
ideal jolly keen kind lively loyal lucid lucky mellow merry mighty modest neat nimble noble olive patient plucky polite
proud quick quiet rapid ready robust rosy royal sage serene sharp silent silver smart smooth snappy solid sound spry
steady stoic sunny sure swift tender tidy tranquil trim trusty upbeat urban vast vivid warm wise witty young zesty`)

var surnames = strings.Fields(`abel ampere archimedes avogadro bell bohr boole born brahe cantor cauchy celsius chandra
copernicus coulomb curie dalton darwin descartes dirac doppler earhart edison einstein euclid euler faraday fermat fermi
feynman fibonacci fourier franklin galilei galois gauss germain goedel goodall haber hahn hamilton hawking heisenberg
hertz hilbert hooke hopper hubble huygens hypatia jacobi joliot joule kepler kovalevsky lagrange lamarr laplace leibniz
linnaeus lister lorentz lovelace mach maxwell meitner mendel mendeleev morse napier nash newton nobel noether ohm pascal
pasteur pauli planck poincare ptolemy pythagoras raman riemann roentgen rubin rutherford sagan shannon tesla thales
thomson torricelli turing volta watt weber wiles wright wu yukawa`)

func generateName(try int) string {
	name := adjectives[mathrand.IntN(len(adjectives))] + "_" + surnames[mathrand.IntN(len(surnames))]
	if try > 10 {
		name += fmt.Sprint(mathrand.IntN(1000))
	}
	return name
}
