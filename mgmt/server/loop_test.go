package server

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dpmip/dpmip/mgmt"
	"github.com/dpmip/dpmip/mobility"
)

func TestNoteLevels(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	l := &Loop{log: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))}
	l.note(mgmt.Note{Warning: true, Text: "wrong", VM: mobility.NAI("vm1"), Peer: "a", Epoch: 2})
	l.note(mgmt.Note{Text: "done"})
	l.note(mgmt.Note{Debug: true, Text: "ask again"})
	want := `level=WARN msg=wrong vm=vm1 peer=a epoch=2
level=INFO msg=done
level=DEBUG msg="ask again"
`
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Errorf("log (-want +got):\n%s", d)
	}
}
