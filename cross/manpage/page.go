package manpage

import (
	"fmt"
	"strings"
)

// Page is one man page.
type Page struct {
	Name    string
	Section int
	Version string
	Summary string
	// Description is paragraphs of plain text.
	Description []string
	Options     string // verbatim, as the program prints them
	Commands    []Command
	Files       []File
	SeeAlso     []string // "dpmipctl(1)"
}

// Command is one subcommand.
type Command struct {
	Use  string // "dpmipctl move prepare VM [flags]"
	Help string // verbatim
}

// File is one that the program reads.
type File struct {
	Path string
	Text string // what it is
	// Example is printed verbatim.
	Example string
}

// Roff gives the page's source.
func (p Page) Roff() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s %d \"\" %s dpmip\n", quote(strings.ToUpper(p.Name)), p.Section, quote("dpmip "+p.Version))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", escape(p.Name), escape(p.Summary))
	if len(p.Commands) > 0 {
		fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n.I command\n[flags]\n", escape(p.Name))
	} else {
		fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n[flags]\n", escape(p.Name))
	}
	if len(p.Description) > 0 {
		b.WriteString(".SH DESCRIPTION\n")
		for i, text := range p.Description {
			if i > 0 {
				b.WriteString(".PP\n")
			}
			b.WriteString(escape(text) + "\n")
		}
	}
	if p.Options != "" {
		b.WriteString(".SH OPTIONS\n" + verbatim(p.Options))
	}
	if len(p.Commands) > 0 {
		b.WriteString(".SH COMMANDS\n")
		for _, c := range p.Commands {
			fmt.Fprintf(&b, ".SS %s\n%s", quote(c.Use), verbatim(c.Help))
		}
	}
	if len(p.Files) > 0 {
		b.WriteString(".SH FILES\n")
		for _, f := range p.Files {
			fmt.Fprintf(&b, ".TP\n.I %s\n%s\n", escape(f.Path), escape(f.Text))
		}
		for _, f := range p.Files {
			if f.Example != "" {
				fmt.Fprintf(&b, ".SH EXAMPLE OF %s\n%s", quote(f.Path), verbatim(f.Example))
			}
		}
	}
	if len(p.SeeAlso) > 0 {
		b.WriteString(".SH SEE ALSO\n" + escape(strings.Join(p.SeeAlso, ", ")) + "\n")
	}
	return []byte(b.String())
}

// escaper keeps text from being read as roff, and a hyphen from becoming a dash
// that cannot be pasted.
var escaper = strings.NewReplacer(`\`, `\e`, `-`, `\-`)

// escape is for running text; a line that begins like a request is shielded.
func escape(s string) string {
	lines := strings.Split(escaper.Replace(strings.TrimSpace(s)), "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}

// quote is for an argument of a request.
func quote(s string) string { return `"` + strings.ReplaceAll(escaper.Replace(s), `"`, `\(dq`) + `"` }

// verbatim keeps lines and columns.
func verbatim(s string) string {
	lines := strings.Split(escaper.Replace(strings.Trim(s, "\n")), "\n")
	for i, l := range lines {
		l = strings.TrimRight(strings.ReplaceAll(l, "\t", "    "), " ")
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			l = `\&` + l
		}
		lines[i] = l
	}
	return ".nf\n" + strings.Join(lines, "\n") + "\n.fi\n"
}
