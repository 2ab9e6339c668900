package manpage

import (
	"fmt"
	"strings"
)

// Help runs a program for its help: the words before --help.
type Help func(words ...string) (string, error)

// Flags gives the options of a program of Go's flag package, without the line
// that names the program.
func Flags(text string) string {
	if first, rest, ok := strings.Cut(text, "\n"); ok && strings.HasPrefix(first, "Usage of ") {
		text = rest
	}
	return strings.TrimRight(text, "\n")
}

// section gives the indented lines below a heading of cobra's help.
func section(text, heading string) string {
	_, rest, ok := strings.Cut("\n"+text, "\n"+heading+":\n")
	if !ok {
		return ""
	}
	var out []string
	for _, line := range strings.Split(rest, "\n") {
		if line == "" || !strings.HasPrefix(line, " ") {
			break
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

// maxDepth of commands; deeper ones mean that a help was not understood.
const maxDepth = 4

// Tree walks the commands of a cobra program: the global flags, and every
// command that does something, in the order of the helps.
func Tree(name string, help Help) (global string, commands []Command, err error) {
	text, err := help()
	if err != nil {
		return "", nil, err
	}
	commands, err = walk(name, nil, text, help)
	if err == nil && len(commands) == 0 {
		err = fmt.Errorf("manpage: %s: no command in its help", name)
	}
	return section(text, "Flags"), commands, err
}

func walk(name string, path []string, text string, help Help) ([]Command, error) {
	if len(path) > maxDepth {
		return nil, fmt.Errorf("manpage: %s %s: too deep", name, strings.Join(path, " "))
	}
	var out []Command
	for _, line := range strings.Split(section(text, "Available Commands"), "\n") {
		fields := strings.Fields(line)
		if len(fields) == 0 || len(path) == 0 && (fields[0] == "help" || fields[0] == "completion") {
			continue
		}
		words := append(path[:len(path):len(path)], fields[0])
		sub, err := help(words...)
		if err != nil {
			return nil, err
		}
		if c, ok := leaf(sub); ok {
			out = append(out, c)
		}
		below, err := walk(name, words, sub, help)
		if err != nil {
			return nil, err
		}
		out = append(out, below...)
	}
	return out, nil
}

// leaf is the command itself, where it does more than hold others.
func leaf(text string) (Command, bool) {
	use, _, _ := strings.Cut(section(text, "Usage"), "\n")
	use = strings.TrimSpace(use)
	if use == "" || strings.HasSuffix(use, "[command]") {
		return Command{}, false
	}
	long, _, _ := strings.Cut(text, "\nUsage:")
	help := strings.TrimSpace(long)
	if flags := section(text, "Flags"); flags != "" {
		help += "\n\n" + flags
	}
	return Command{Use: use, Help: help}, true
}
