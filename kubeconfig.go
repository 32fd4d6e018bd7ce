package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"

	"go.yaml.in/yaml/v3"
)

// kubeconfigSaid is what `aws eks update-kubeconfig` says when it has written.
var kubeconfigSaid = regexp.MustCompile(`(?m)^(?:Added new context (.+) to|Updated context (.+) in) (.+)$`)

// kubeconfig makes the entry that `aws eks update-kubeconfig` has written, or
// printed (--dry-run), run postern instead of aws, so that kubectl works.
func (c *cli) kubeconfig(_ context.Context, _ *profile, s *appSession, args []string, text string) (string, error) {
	if slices.Contains(args, "--dry-run") {
		doc, err := c.throughPostern([]byte(text), "", s)
		return string(doc), err
	}
	said := kubeconfigSaid.FindStringSubmatch(text)
	if said == nil {
		return text, errors.New("the AWS CLI does not say which file it has written, so its entry still runs aws: write postern in its place")
	}
	path := said[3]
	doc, err := os.ReadFile(path)
	if err == nil {
		doc, err = c.throughPostern(doc, said[1]+said[2], s)
	}
	if err == nil {
		err = writePrivateBytes(path, doc)
	}
	if err != nil {
		return text, fmt.Errorf("make kubectl run postern: %w", err)
	}
	return text, nil
}

// throughPostern puts postern before the aws of a context's user ("" for the
// current one's) and leaves everything else as it is.
func (c *cli) throughPostern(doc []byte, kubeContext string, s *appSession) ([]byte, error) {
	var root yaml.Node
	if err := yaml.Unmarshal(doc, &root); err != nil {
		return nil, err
	}
	if len(root.Content) != 1 {
		return nil, errors.New("the kubeconfig is empty")
	}
	top := root.Content[0]
	if kubeContext == "" {
		kubeContext = valueOf(childOf(top, "current-context"))
	}
	user := valueOf(childOf(childOf(named(childOf(top, "contexts"), kubeContext), "context"), "user"))
	run := childOf(childOf(named(childOf(top, "users"), user), "user"), "exec")
	command, args := childOf(run, "command"), childOf(run, "args")
	if valueOf(command) != "aws" || args == nil {
		return nil, fmt.Errorf("context %q has no user that runs aws", kubeContext)
	}
	self, err := self()
	if err != nil {
		return nil, err
	}
	own := []string{"aws", "--app", s.App}
	for _, f := range [][2]string{{"--identity", c.identity}, {"--home", c.homeDir}} {
		if f[1] != "" {
			abs, err := filepath.Abs(f[1])
			if err != nil {
				return nil, err
			}
			own = append(own, f[0], abs)
		}
	}
	command.Value = self
	var first []*yaml.Node
	for _, v := range own {
		first = append(first, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: v})
	}
	args.Content = append(first, args.Content...)
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2) // as the AWS CLI writes it
	if err := enc.Encode(&root); err != nil {
		return nil, err
	}
	return out.Bytes(), enc.Close()
}

// self is how other programs start postern: by its name where that finds it.
func self() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", err
	}
	if found, err := exec.LookPath("postern"); err == nil {
		if found, err = filepath.EvalSymlinks(found); err == nil && found == path {
			return "postern", nil
		}
	}
	return path, nil
}

// childOf is the value of a mapping's key, nil if there is none.
func childOf(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// named is the item of a list whose name is this, nil if there is none.
func named(n *yaml.Node, name string) *yaml.Node {
	if n == nil {
		return nil
	}
	for _, item := range n.Content {
		if valueOf(childOf(item, "name")) == name {
			return item
		}
	}
	return nil
}

func valueOf(n *yaml.Node) string {
	if n == nil {
		return ""
	}
	return n.Value
}
