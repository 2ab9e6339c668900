package dnsupdate

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// errKeySyntax is what a key file must look like.
var errKeySyntax = errors.New(`want key "NAME" { algorithm hmac-sha256; secret "BASE64"; }; and nothing else`)

// parseKeys reads one or more key statements of named.conf.
func parseKeys(b []byte) ([]Key, error) {
	if bytes.Contains(b, []byte("Private-key-format:")) || bytes.Contains(b, []byte(" IN KEY ")) {
		return nil, ErrSIG0
	}
	var keys []Key
	for s := (scanner{rest: string(b)}); ; {
		word := s.next()
		if word == "" {
			break
		}
		if word != "key" {
			return nil, errKeySyntax
		}
		k, err := s.key()
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, errors.New("holds no key")
	}
	return keys, nil
}

// scanner splits named.conf into words, "{", "}" and ";", without comments and
// quotes.
type scanner struct{ rest string }

// key reads what follows the word key.
func (s *scanner) key() (Key, error) {
	name := s.next()
	if s.next() != "{" {
		return Key{}, errKeySyntax
	}
	fields := map[string]string{}
	for {
		field := s.next()
		if field == "}" {
			break
		}
		if field != "algorithm" && field != "secret" || fields[field] != "" {
			return Key{}, fmt.Errorf("key %q: want one algorithm and one secret, nothing else", name)
		}
		fields[field] = s.next()
		if s.next() != ";" {
			return Key{}, errKeySyntax
		}
	}
	if s.next() != ";" {
		return Key{}, errKeySyntax
	}
	secret, err := base64.StdEncoding.DecodeString(fields["secret"])
	if err != nil {
		return Key{}, fmt.Errorf("key %q: the secret is not base64", name)
	}
	return NewKey(name, fields["algorithm"], secret)
}

// next returns the next word; "" at the end.
func (s *scanner) next() string {
	s.skip()
	if s.rest == "" {
		return ""
	}
	if quoted, ok := strings.CutPrefix(s.rest, `"`); ok {
		word, rest, _ := strings.Cut(quoted, `"`)
		s.rest = rest
		return word
	}
	end := strings.IndexAny(s.rest, " \t\r\n{};\"")
	switch {
	case end < 0:
		end = len(s.rest)
	case end == 0:
		end = 1
	}
	word := s.rest[:end]
	s.rest = s.rest[end:]
	return word
}

// skip passes white space and comments; those begin where a word could.
func (s *scanner) skip() {
	for {
		s.rest = strings.TrimLeft(s.rest, " \t\r\n")
		end := ""
		switch {
		case strings.HasPrefix(s.rest, "/*"):
			end = "*/"
		case strings.HasPrefix(s.rest, "//"), strings.HasPrefix(s.rest, "#"):
			end = "\n"
		default:
			return
		}
		_, s.rest, _ = strings.Cut(s.rest, end)
	}
}
