package sim

import (
	"bufio"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Op is one operation or fault at its time.
type Op struct {
	At   time.Duration // since the start
	Verb string
	Args []string
}

func (o Op) String() string {
	return strings.TrimSpace(fmt.Sprintf("%v %s %s", o.At, o.Verb, strings.Join(o.Args, " ")))
}

// Schedule is everything that one history follows from.
type Schedule struct {
	Seed uint64
	// Watched: routers are observers of proofs, and routed moves are rehearsed.
	Watched bool
	Noise   Noise
	Skew    map[string]time.Duration // of clocks, against the management node's
	Room    map[string]int           // of routers, in host routes; not listed = without end
	Mute    bool                     // they do not say it
	Guests  []GuestSpec
	Ops     []Op
}

// GuestSpec is one VM.
type GuestSpec struct {
	Name   string
	Home   string
	V6, V4 bool
}

func (g GuestSpec) families() string {
	switch {
	case g.V6 && g.V4:
		return "dual"
	case g.V4:
		return "4"
	}
	return "6"
}

// String gives the text form that Parse reads.
func (s *Schedule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d\nnoise %d %d %d\n", s.Seed, s.Noise.Loss, s.Noise.Repeat, s.Noise.Slow)
	if s.Watched {
		b.WriteString("watched\n")
	}
	for _, name := range sortedKeys(s.Skew) {
		fmt.Fprintf(&b, "skew %s %v\n", name, s.Skew[name])
	}
	for _, name := range sortedKeys(s.Room) {
		fmt.Fprintf(&b, "room %s %d\n", name, s.Room[name])
	}
	if s.Mute {
		fmt.Fprintln(&b, "mute")
	}
	for _, g := range s.Guests {
		fmt.Fprintf(&b, "guest %s %s %s\n", g.Name, g.Home, g.families())
	}
	for _, o := range s.Ops {
		fmt.Fprintln(&b, o)
	}
	return b.String()
}

// Clone copies the schedule.
func (s *Schedule) Clone() *Schedule {
	c := *s
	c.Skew = map[string]time.Duration{}
	for k, v := range s.Skew {
		c.Skew[k] = v
	}
	c.Room = maps.Clone(s.Room)
	c.Guests, c.Ops = slices.Clone(s.Guests), slices.Clone(s.Ops)
	return &c
}

// Parse reads the text form. Lines that begin with "#" are comments. The error
// names the line.
func Parse(text string) (*Schedule, error) {
	s := &Schedule{Skew: map[string]time.Duration{}, Room: map[string]int{}}
	scan := bufio.NewScanner(strings.NewReader(text))
	for n := 1; scan.Scan(); n++ {
		f := strings.Fields(scan.Text())
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		if err := s.line(f); err != nil {
			return nil, fmt.Errorf("sim: line %d: %w", n, err)
		}
	}
	sortOps(s.Ops)
	return s, s.check()
}

func (s *Schedule) line(f []string) (err error) {
	want := map[string]int{"seed": 2, "noise": 4, "skew": 3, "guest": 4, "room": 3, "mute": 1, "watched": 1}
	if n, ok := want[f[0]]; ok && len(f) != n {
		return fmt.Errorf("%s: want %d words", f[0], n)
	}
	switch f[0] {
	case "seed":
		s.Seed, err = strconv.ParseUint(f[1], 10, 64)
	case "noise":
		for i, p := range []*int{&s.Noise.Loss, &s.Noise.Repeat, &s.Noise.Slow} {
			if *p, err = strconv.Atoi(f[i+1]); err != nil {
				return err
			}
		}
	case "watched":
		s.Watched = true
	case "skew":
		s.Skew[f[1]], err = time.ParseDuration(f[2])
	case "room":
		s.Room[f[1]], err = strconv.Atoi(f[2])
	case "mute":
		s.Mute = true
	case "guest":
		s.Guests = append(s.Guests, GuestSpec{f[1], f[2], f[3] != "4", f[3] != "6"})
	default:
		o := Op{}
		if len(f) < 2 {
			return fmt.Errorf("%q: want a time and a verb", f[0])
		}
		if o.At, err = time.ParseDuration(f[0]); err != nil {
			return err
		}
		o.Verb, o.Args = f[1], f[2:]
		s.Ops = append(s.Ops, o)
	}
	return err
}

// check refuses names and verbs that do not exist.
func (s *Schedule) check() error {
	for name, n := range s.Room {
		if !slices.Contains(routerNames, name) || n < 1 {
			return fmt.Errorf("sim: room %s %d: want a router and 1 or more", name, n)
		}
	}
	for _, g := range s.Guests {
		if !slices.Contains(hypervisorNames, g.Home) {
			return fmt.Errorf("sim: guest %s: no hypervisor %q", g.Name, g.Home)
		}
	}
	for _, o := range s.Ops {
		v, ok := verbs[o.Verb]
		if !ok {
			return fmt.Errorf("sim: %s: unknown verb", o)
		}
		if len(v.args) != len(o.Args) {
			return fmt.Errorf("sim: %s: want %s %v", o, o.Verb, v.args)
		}
		for i, kind := range v.args {
			if !s.valid(kind, o.Args[i]) {
				return fmt.Errorf("sim: %s: %q is no %s", o, o.Args[i], kind)
			}
		}
	}
	return nil
}

// valid tells whether a word is of a kind.
func (s *Schedule) valid(kind, word string) bool {
	switch kind {
	case "vm":
		return slices.ContainsFunc(s.Guests, func(g GuestSpec) bool { return g.Name == word })
	case "hypervisor":
		return slices.Contains(hypervisorNames, word)
	case "node":
		return word == managementName || slices.Contains(hypervisorNames, word) || slices.Contains(routerNames, word)
	case "duration":
		_, err := time.ParseDuration(word)
		return err == nil
	case "count":
		_, err := strconv.Atoi(word)
		return err == nil
	}
	return slices.Contains(strings.Split(kind, "|"), word)
}

func splitLine(s string) []string { return strings.Fields(s) }

func sortOps(ops []Op) {
	slices.SortStableFunc(ops, func(a, b Op) int { return cmp.Compare(a.At, b.At) })
}
