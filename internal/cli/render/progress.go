package render

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/jsonstream"
)

// Progress shows a stream of JSON progress messages, as pull, push and load
// send it.
type Progress struct {
	Out   io.Writer
	TTY   bool
	Width uint                  // of the terminal, in characters
	Aux   func(json.RawMessage) // gets out-of-band data; may be nil
	Now   func() time.Time      // nil: time.Now
}

// Copy reads messages until the stream ends. The error that a message carries
// is returned as it stands; the daemon has worded it.
func (p Progress) Copy(r io.Reader) error {
	out := bufio.NewWriter(p.Out)
	err := p.copy(out, r)
	return errors.Join(err, out.Flush())
}

func (p Progress) copy(out *bufio.Writer, r io.Reader) error {
	dec := json.NewDecoder(r)
	lines := map[string]int{} // ID → its line, counted from the first
	for {
		var m jsonstream.Message
		if err := dec.Decode(&m); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if m.Aux != nil {
			if p.Aux != nil {
				p.Aux(*m.Aux)
			}
			continue
		}
		if m.Error != nil {
			return m.Error
		}
		p.show(out, m, lines)
		if err := out.Flush(); err != nil {
			return err
		}
	}
}

// show writes a message. On a terminal each ID that has progress keeps the
// line on which it first appeared.
func (p Progress) show(out io.Writer, m jsonstream.Message, lines map[string]int) {
	switch {
	case !p.TTY:
		if m.Progress == nil || m.Progress.Current <= 0 && m.Progress.Total <= 0 {
			p.plain(out, m)
		}
	case m.ID == "" || m.Progress == nil:
		clear(lines) // what follows begins a new block of lines
		p.plain(out, m)
	default:
		line, known := lines[m.ID]
		if !known {
			line = len(lines)
			lines[m.ID] = line
			fmt.Fprint(out, "\n")
		}
		up := len(lines) - line
		fmt.Fprintf(out, "\x1b[%dA\x1b[2K\r%s: %s %s\r\x1b[%dB", up, m.ID, m.Status, p.bar(m), up)
	}
}

func (p Progress) plain(out io.Writer, m jsonstream.Message) {
	switch {
	case m.Stream != "":
		fmt.Fprint(out, m.Stream)
	case m.ID != "":
		fmt.Fprintf(out, "%s: %s\n", m.ID, m.Status)
	default:
		fmt.Fprintf(out, "%s\n", m.Status)
	}
}

const (
	fullBar  = 50  // characters of a bar where there is room
	fullFrom = 110 // width of a terminal with room for full bars
	smallBar = 10  // below this a bar says nothing
)

// bar draws "[=====>     ]  1.2MB/3.4MB". Narrow terminals get a shorter bar
// rather than a line that wraps.
func (p Progress) bar(m jsonstream.Message) string {
	pr := m.Progress
	if pr.Current <= 0 && pr.Total <= 0 {
		return ""
	}
	counts := p.counts(pr)
	if pr.Total <= 0 {
		return counts
	}
	size := fullBar
	if p.Width <= fullFrom {
		size = int(p.Width) - len(m.ID) - len(m.Status) - len(counts) - 8
		if size < smallBar {
			return counts
		}
		size = min(size, fullBar)
	}
	done := int(float64(pr.Current) / float64(pr.Total) * float64(size))
	done = max(0, min(done, size))
	return "[" + strings.Repeat("=", done) + ">" + strings.Repeat(" ", size-done) + "] " + counts + p.timeLeft(pr, done, size)
}

func (p Progress) counts(pr *jsonstream.Progress) string {
	switch {
	case pr.HideCounts:
		return ""
	case pr.Units != "":
		if pr.Total <= 0 || pr.Current > pr.Total {
			return fmt.Sprintf("%d %s", pr.Current, pr.Units)
		}
		return fmt.Sprintf("%d/%d %s", pr.Current, pr.Total, pr.Units)
	case pr.Total <= 0 || pr.Current > pr.Total:
		return fmt.Sprintf("%8v", units.HumanSize(float64(pr.Current)))
	}
	return fmt.Sprintf("%8v/%v", units.HumanSize(float64(pr.Current)), units.HumanSize(float64(pr.Total)))
}

func (p Progress) timeLeft(pr *jsonstream.Progress, done, size int) string {
	if pr.Current <= 0 || pr.Start <= 0 || done >= size {
		return ""
	}
	now := time.Now
	if p.Now != nil {
		now = p.Now
	}
	since := now().UTC().Sub(time.Unix(pr.Start, 0))
	left := time.Duration(float64(since) / float64(pr.Current) * float64(pr.Total-pr.Current))
	return " " + (left / time.Second * time.Second).String()
}
