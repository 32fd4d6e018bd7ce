package main

import (
	"cmp"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Every command of postern's that README and docs write as code is there, with the flags
// that it is given.
func TestCommandsInDocs(t *testing.T) {
	pages, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	root, checked := (&cli{}).root(), 0
	for _, page := range append(pages, "README.md", "deploy/postern.yaml") {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range commandLines(string(b)) {
			checked++
			if wrong := notThere(root, line); wrong != "" {
				t.Errorf("%s: %q: there is no %s", page, line, wrong)
			}
		}
	}
	if checked < 200 {
		t.Errorf("only %d commands were found", checked)
	}
}

var (
	inlineCommand = regexp.MustCompile("`(postern [^`]+)`")
	fencedCommand = regexp.MustCompile(`(?m)^\s*(?:[$#] |sudo |export )?(?:[A-Z_]+=\S+ )*(?:\w+="?\$\()?(postern [^\n⏎]+)$`) // ⏎: text that is signed
	fence         = regexp.MustCompile("(?ms)^```\\w*$(.*?)^```$")
)

// commandLines are the commands of a page: in its code blocks, and those between
// backticks.
func commandLines(text string) (out []string) {
	for _, block := range fence.FindAllStringSubmatch(text, -1) {
		for _, m := range fencedCommand.FindAllStringSubmatch(strings.ReplaceAll(block[1], "\\\n", " "), -1) {
			out = append(out, m[1])
		}
	}
	for _, m := range inlineCommand.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		out = append(out, m[1])
	}
	return out
}

// notThere is the command or flag of a line that root does not have, "" if it has them
// all. What is of others, after -- or an argument in capitals, is not looked at.
func notThere(root *cobra.Command, line string) string {
	at, value := []*cobra.Command{root}, false
	for _, word := range strings.Fields(line)[1:] {
		word = strings.Trim(word, "[](),;:…")
		switch {
		case value:
			value = false
		case word == "--" || word == "" || strings.HasPrefix(word, "#") || strings.ContainsAny(word, "<>&'\"$") || word == "|":
			return ""
		case strings.HasPrefix(word, "--"):
			for flag := range strings.SplitSeq(word, "|") {
				name, _, _ := strings.Cut(strings.TrimPrefix(flag, "--"), "=")
				var known *pflag.Flag
				for _, cmd := range at {
					known = cmp.Or(known, cmd.Flag(strings.Trim(name, "[]()…")))
				}
				if known == nil && !at[0].DisableFlagParsing {
					return "--" + name
				}
				value = known != nil && known.NoOptDefVal == "" && !strings.Contains(word, "=")
			}
		case strings.HasPrefix(word, "-"):
		case at[0].HasSubCommands():
			if strings.ContainsFunc(word, unicode.IsUpper) {
				return ""
			}
			var next []*cobra.Command
			for name := range strings.SplitSeq(word, "|") {
				sub, rest, err := at[0].Find([]string{name})
				if err != nil || sub == at[0] || len(rest) > 0 {
					return name
				}
				next = append(next, sub)
			}
			at = next
		}
	}
	return ""
}

var (
	link     = regexp.MustCompile(`\]\(([^)\s:#]*)(?:#([^)\s]*))?\)`)
	heading  = regexp.MustCompile(`(?m)^#+ (.*)$`)
	goFile   = regexp.MustCompile("`([\\w./-]+\\.go)`")
	testName = regexp.MustCompile(`\b(?:Test|Fuzz|Benchmark)[A-Z]\w*`)
)

// What README and docs link to is there, and so are the Go files and tests that they name.
func TestLinksInDocs(t *testing.T) {
	files := map[string]bool{}
	var tests []string
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path == ".git" && d.IsDir() { // a file in other work trees
			return filepath.SkipDir
		}
		path = filepath.ToSlash(path)
		files[path] = true
		if strings.HasSuffix(path, ".go") { // by the end of its path, too
			for rest, ok := path, true; ok; _, rest, ok = strings.Cut(rest, "/") {
				files[rest] = true
			}
		}
		if strings.HasSuffix(path, "_test.go") {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			tests = append(tests, testName.FindAllString(string(b), -1)...)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for _, page := range append(pages, "README.md") {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		texts[page] = string(b)
	}
	for page, text := range texts {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			to := page
			if m[1] != "" {
				to = path.Join(path.Dir(page), m[1])
			}
			if !files[to] || m[2] != "" && !hasHeading(texts[to], m[2]) {
				t.Errorf("%s: %s leads nowhere", page, m[0])
			}
		}
		for _, m := range goFile.FindAllStringSubmatch(text, -1) {
			if !files[m[1]] {
				t.Errorf("%s: there is no file %s", page, m[1])
			}
		}
		for _, name := range testName.FindAllString(text, -1) {
			if !slices.ContainsFunc(tests, func(full string) bool { return strings.HasPrefix(full, name) }) { // as -run takes it
				t.Errorf("%s: there is no %s", page, name)
			}
		}
	}
}

// hasHeading tells whether a page has a heading that GitHub gives an anchor's name.
func hasHeading(text, anchor string) bool {
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		name := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, m[1])
		if name == anchor {
			return true
		}
	}
	return false
}
