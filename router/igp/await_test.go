package igp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// changing is an FRR whose answers follow each other; the last one stays.
type changing []string

func (c *changing) Show(context.Context, string) ([]byte, error) {
	text := (*c)[0]
	if len(*c) > 1 {
		*c = (*c)[1:]
	}
	if text == "" {
		return nil, ErrNoFRR
	}
	return []byte(text), nil
}

const (
	none     = `{}`
	inKernel = `{"2001:db8:a::7/128":[{"protocol":"ospf6","selected":true,"installed":true}]}`
	notTaken = `{"2001:db8:a::7/128":[{"protocol":"ospf6"}]}`
	another  = `{"2001:db8:a::7/128":[{"protocol":"kernel","selected":true,"installed":true}]}`
	noAnswer = ""
)

func TestAwait(t *testing.T) {
	t.Parallel()
	rib := Sought{Protocols: []Protocol{OSPF3}}
	for name, tc := range map[string]struct {
		frr    changing
		sought Sought
		there  bool
		want   error
	}{
		"comes":                       {changing{none, none, inKernel}, Sought{}, true, nil},
		"goes":                        {changing{inKernel, inKernel, none}, Sought{}, false, nil},
		"is not taken":                {changing{notTaken}, Sought{}, true, context.DeadlineExceeded},
		"is not taken, but known":     {changing{none, notTaken}, rib, true, nil},
		"is another's":                {changing{another}, rib, true, context.DeadlineExceeded},
		"is another's, and installed": {changing{another}, Sought{}, true, nil},
		"known no longer":             {changing{notTaken, another}, rib, false, nil},
		"FRR is restarted":            {changing{none, noAnswer, noAnswer, none, inKernel}, Sought{}, true, nil},
		"FRR stays away":              {changing{none, noAnswer}, Sought{}, true, ErrNoFRR},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if err := Await(ctx, &tc.frr, vm, tc.sought, tc.there); !errors.Is(err, tc.want) {
					t.Errorf("err = %v, want %v", err, tc.want)
				}
			})
		})
	}
}

// serveZebra answers each command by the table, as zebra's socket does, and ends
// after so many of them.
func serveZebra(t *testing.T, folder string, commands int, table map[string]string) (done chan struct{}) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(folder, "zebra.vty"))
	if err != nil {
		t.Fatal(err)
	}
	done = make(chan struct{})
	go func() {
		defer close(done)
		defer l.Close()
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		b := make([]byte, 512)
		for range commands {
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			answer := table[strings.TrimSuffix(string(b[:n]), "\x00")]
			for _, part := range []string{answer[:len(answer)/2], answer[len(answer)/2:]} { // in pieces
				if _, err := conn.Write([]byte(part)); err != nil {
					return
				}
			}
		}
	}()
	return done
}

func TestZebra(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	table := map[string]string{
		"show ipv6 route 2001:db8:a::7/128 json": inKernel + "\x00\x00\x00\x00",
		"show ipv6 route 2001:db8:a::8/128 json": "{}\n\x00\x00\x00\x01",
		"show nonsense":                          "% [ZEBRA] Unknown command\n\x00\x00\x00\x02",
	}
	z := NewZebra(folder)
	defer z.Close()
	if _, err := z.Show(t.Context(), "show nonsense"); !errors.Is(err, ErrNoFRR) || !strings.Contains(err.Error(), "zebra.vty") {
		t.Errorf("of no zebra: %v", err)
	}
	first := serveZebra(t, folder, 2, table)
	for p, want := range map[string]bool{"2001:db8:a::7/128": true, "2001:db8:a::8/128": false} {
		if got, err := Installed(t.Context(), z, netip.MustParsePrefix(p)); got != want || err != nil {
			t.Errorf("%s installed: %v, %v", p, got, err)
		}
	}
	<-first
	second := serveZebra(t, folder, 1, table) // it has been restarted
	if ok, err := Installed(t.Context(), z, vm); !ok || err != nil {
		t.Errorf("after a restart: %v, %v", ok, err)
	}
	<-second
	third := serveZebra(t, folder, 1, table)
	if _, err := z.Show(t.Context(), "show nonsense"); err == nil || !strings.Contains(err.Error(), "status 2: % [ZEBRA] Unknown command") {
		t.Errorf("of an unknown command: %v", err)
	}
	<-third
}
