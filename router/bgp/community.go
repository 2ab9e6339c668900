package bgp

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Community is a standard community (RFC 1997): two 16-bit halves.
type Community uint32

// NoExport keeps a route inside the receiver's autonomous system (RFC 1997).
const NoExport Community = 0xffffff01

// Large is a large community (RFC 8092).
type Large struct{ Global, Local1, Local2 uint32 }

// ParseCommunity reads "65000:100", or "no-export".
func ParseCommunity(s string) (Community, error) {
	if s == "no-export" {
		return NoExport, nil
	}
	parts, err := numbers(s, 2, 16)
	if err != nil {
		return 0, err
	}
	return Community(parts[0]<<16 | parts[1]), nil
}

// ParseLarge reads "65000:100:1".
func ParseLarge(s string) (Large, error) {
	parts, err := numbers(s, 3, 32)
	if err != nil {
		return Large{}, err
	}
	return Large{parts[0], parts[1], parts[2]}, nil
}

func numbers(s string, count, bits int) ([]uint32, error) {
	fields := strings.Split(s, ":")
	if len(fields) != count {
		return nil, fmt.Errorf("%q: want %d numbers with colons between", s, count)
	}
	out := make([]uint32, count)
	for i, f := range fields {
		n, err := strconv.ParseUint(f, 10, bits)
		if err != nil {
			return nil, fmt.Errorf("%q: %q is no number of %d bits", s, f, bits)
		}
		out[i] = uint32(n)
	}
	return out, nil
}

func (c Community) String() string {
	if c == NoExport {
		return "no-export"
	}
	return fmt.Sprintf("%d:%d", uint32(c)>>16, uint32(c)&0xffff)
}

func (l Large) String() string { return fmt.Sprintf("%d:%d:%d", l.Global, l.Local1, l.Local2) }

// Tags are the communities on a route, of both kinds.
type Tags struct {
	Standard []Community
	Large    []Large
}

// Empty tells whether there is none.
func (t Tags) Empty() bool { return len(t.Standard) == 0 && len(t.Large) == 0 }

// Shares tells whether the two have a community in common.
func (t Tags) Shares(o Tags) bool {
	return slices.ContainsFunc(t.Standard, func(c Community) bool { return slices.Contains(o.Standard, c) }) ||
		slices.ContainsFunc(t.Large, func(l Large) bool { return slices.Contains(o.Large, l) })
}

// Strings lists them as text, standard ones first.
func (t Tags) Strings() []string {
	var out []string
	for _, c := range t.Standard {
		out = append(out, c.String())
	}
	for _, l := range t.Large {
		out = append(out, l.String())
	}
	return out
}
