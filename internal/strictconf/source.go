package strictconf

import (
	"fmt"
	"strings"
)

// Source knows on which line of a file each key stands.
type Source struct {
	File  string
	lines map[string]int
}

// Line is where the key stands: "a.b", "hypervisor[1].ranges[0]". A key that is
// absent stands where the nearest table or array around it does.
func (s *Source) Line(key string) int {
	for key != "" {
		if n, ok := s.lines[key]; ok {
			return n
		}
		cut := strings.LastIndexAny(key, ".[")
		if cut < 0 {
			return 0
		}
		key = key[:cut]
	}
	return 0
}

// Errorf builds an *Error at key's place.
func (s *Source) Errorf(key, format string, args ...any) error {
	return &Error{File: s.File, Line: s.Line(key), Key: key, Message: fmt.Sprintf(format, args...)}
}

// scanLines finds the line of every key of a document that has parsed. It need
// not understand values, only where they end: it counts brackets and skips
// strings and comments. Elements of arrays that span lines get their own line.
func scanLines(doc string) map[string]int {
	s := scanner{doc: doc, line: 1, lines: map[string]int{}, count: map[string]int{}}
	for s.pos < len(s.doc) {
		s.statement()
	}
	return s.lines
}

type scanner struct {
	doc    string
	pos    int
	line   int
	prefix string         // the current table's path with a dot, or ""
	count  map[string]int // elements seen of each array of tables
	lines  map[string]int
}

// statement reads one line's worth of grammar: blank, comment, header or
// key = value (which may span lines).
func (s *scanner) statement() {
	s.blanks()
	if s.pos >= len(s.doc) {
		return
	}
	switch c := s.doc[s.pos]; {
	case c == '\n':
		s.line++
		s.pos++
	case c == '#':
		s.skipTo("\n")
	case strings.HasPrefix(s.doc[s.pos:], "[["):
		s.pos += 2
		path := s.indexed(s.key("]"))
		s.count[path]++
		path = fmt.Sprintf("%s[%d]", path, s.count[path]-1)
		s.lines[path], s.prefix = s.line, path+"."
		s.skipTo("\n")
	case c == '[':
		s.pos++
		path := s.indexed(s.key("]"))
		s.lines[path], s.prefix = s.line, path+"."
		s.skipTo("\n")
	default:
		path := s.prefix + strings.Join(s.key("="), ".")
		s.lines[path] = s.line
		s.pos++ // the equals sign
		s.value(path)
		s.skipTo("\n")
	}
}

// indexed names the parts of a header, with the current index of every array of
// tables above the last part.
func (s *scanner) indexed(parts []string) string {
	path := ""
	for i, p := range parts {
		if i > 0 {
			if n := s.count[path]; n > 0 {
				path = fmt.Sprintf("%s[%d]", path, n-1)
			}
			path += "."
		}
		path += p
	}
	return path
}

// key reads a dotted key up to the terminator, which is left unread.
func (s *scanner) key(end string) (parts []string) {
	var part strings.Builder
	for s.pos < len(s.doc) && !strings.HasPrefix(s.doc[s.pos:], end) {
		switch c := s.doc[s.pos]; c {
		case '"', '\'':
			from := s.pos + 1
			s.text()
			part.WriteString(s.doc[from : s.pos-1])
			continue
		case '.':
			parts = append(parts, part.String())
			part.Reset()
		case ' ', '\t', '\r':
		default:
			part.WriteByte(c)
		}
		s.pos++
	}
	return append(parts, part.String())
}

// value skips one value; inside an array it notes the line of each element.
func (s *scanner) value(path string) {
	s.blanks()
	if s.pos >= len(s.doc) {
		return
	}
	switch s.doc[s.pos] {
	case '"', '\'':
		s.text()
	case '[':
		s.array(path)
	case '{':
		s.inline(path)
	default:
		for s.pos < len(s.doc) && !strings.ContainsRune(",]}#\n", rune(s.doc[s.pos])) {
			s.pos++
		}
	}
}

func (s *scanner) array(path string) {
	s.pos++
	for i := 0; s.gap(); {
		switch s.doc[s.pos] {
		case ']':
			s.pos++
			return
		case ',':
			s.pos++
		default:
			elem := fmt.Sprintf("%s[%d]", path, i)
			s.lines[elem] = s.line
			s.value(elem)
			i++
		}
	}
}

func (s *scanner) inline(path string) {
	s.pos++
	for s.gap() {
		switch s.doc[s.pos] {
		case '}':
			s.pos++
			return
		case ',':
			s.pos++
		default:
			key := path + "." + strings.Join(s.key("="), ".")
			s.lines[key] = s.line
			s.pos++
			s.value(key)
		}
	}
}

// text skips a string of any of the four kinds.
func (s *scanner) text() {
	quote := s.doc[s.pos : s.pos+1]
	if long := strings.Repeat(quote, 3); strings.HasPrefix(s.doc[s.pos:], long) {
		quote = long
	}
	s.pos += len(quote)
	for s.pos < len(s.doc) && !strings.HasPrefix(s.doc[s.pos:], quote) {
		switch {
		case s.doc[s.pos] == '\\' && quote[0] == '"':
			s.pos++
		case s.doc[s.pos] == '\n':
			s.line++
		}
		s.pos++
	}
	s.pos = min(s.pos+len(quote), len(s.doc))
	for len(quote) == 3 && s.pos < len(s.doc) && s.doc[s.pos] == quote[0] {
		s.pos++ // up to two quotes may stand before the closing three
	}
}

// gap skips blanks, line ends and comments; false at the end of the document.
func (s *scanner) gap() bool {
	for s.pos < len(s.doc) {
		switch s.doc[s.pos] {
		case ' ', '\t', '\r':
			s.pos++
		case '\n':
			s.line++
			s.pos++
		case '#':
			s.skipTo("\n")
		default:
			return true
		}
	}
	return false
}

func (s *scanner) blanks() {
	for s.pos < len(s.doc) && strings.IndexByte(" \t\r", s.doc[s.pos]) >= 0 {
		s.pos++
	}
}

func (s *scanner) skipTo(stop string) {
	if i := strings.Index(s.doc[s.pos:], stop); i >= 0 {
		s.pos += i
		return
	}
	s.pos = len(s.doc)
}
