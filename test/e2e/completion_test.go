package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gantry-run/gantry/internal/testenv"
)

// bashScript completes the line in $LINE with the functions that bash itself
// would call, and prints what they propose.
const bashScript = `. /usr/share/bash-completion/bash_completion
. <(gantry completion bash)
compopt() { :; } # works only below the key
read -ra COMP_WORDS <<<"$LINE"
COMP_CWORD=$((${#COMP_WORDS[@]}-1)) COMP_LINE=$LINE COMP_POINT=${#LINE} COMP_TYPE=9 COMP_KEY=9
__start_gantry && printf '%s\n' "${COMPREPLY[@]}"`

const fishScript = `gantry completion fish | source; complete -C "$LINE"`

// zshScript types the line and the tabulator into a zsh with a terminal, and
// prints the line until what is wanted stands there.
const zshScript = `zmodload zsh/zpty; zpty -b z zsh -f -i
zpty -w z 'PS1=; autoload -Uz compinit; compinit -u -D; source <(gantry completion zsh); compdef _gantry gantry; echo REA""DY'
for i in {1..100}; do zpty -rt z out && all+=$out; [[ $all == *READY* ]] && break; sleep .05; done
zpty -n -w z "$LINE"$'\t'; all=
for i in {1..100}; do zpty -rt z out && all+=$out; [[ $all == *$WANT* ]] && break; sleep .05; done
print -r -- $all`

// The completion scripts in the shells themselves.
func TestCompletionInShells(t *testing.T) {
	testenv.Need(t, testenv.Root)
	if world.clients[0].name != "gantry" {
		t.Skip("needs client gantry: the suite runs others only")
	}
	t.Parallel()
	c := one(t, world.engine)
	name := c.background()
	for shell, args := range map[string][]string{"bash": {"-c", bashScript}, "fish": {"-c", fishScript}, "zsh": {"-f", "-c", zshScript}} {
		t.Run(shell, func(t *testing.T) {
			for line, want := range map[string]string{
				"gantry stop " + name[:len(name)-1]:               name,
				"gantry run busyb":                                "busybox:latest",
				"gantry run --network brid":                       "bridge",
				"gantry network inspect brid":                     "bridge",
				"gantry run --volumes-fr":                         "--volumes-from",
				"gantry run --volumes-from " + name[:len(name)-1]: name,
				"gantry container unpau":                          "unpause",
			} {
				cmd := exec.CommandContext(context.Background(), shell, args...)
				cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(c.path)+":"+os.Getenv("PATH"), "HOME="+t.TempDir(),
					"DOCKER_HOST=unix://"+c.e.sock, "LINE="+line, "WANT="+want, "TERM=dumb")
				out, err := cmd.CombinedOutput()
				if err != nil || !strings.Contains(string(out), want) {
					t.Errorf("%q: %v\n%s\nwant %s", line, err, out, want)
				}
			}
		})
	}
}
