package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// operations lists services and, under each, its operations:
//
//	S service signing-name endpoint-prefix protocol target-prefix iam-prefix
//	O operation method uri actions levels resource-types
//
//	E iam-prefix actions
//
// E lists, of the prefixes that take the place of "s3" at some of S3's hosts, the
// actions. method and uri are empty for RPC protocols. A type with "*" in front is the
// only one, and IAM says that requests are always about one of it. levels are a letter for each
// action: R, L, W, T (tagging) or P (permissions), in lower case where it was told from
// the operation's name because IAM knows no such action.
func operations(ops, actionRows [][]string, odd map[string]string, unlisted map[string]bool, base map[string]string) ([]string, error) {
	actions := map[string]map[string][]string{} // prefix -> lower-case action -> row
	for _, r := range actionRows {
		if actions[r[0]] == nil {
			actions[r[0]] = map[string][]string{}
		}
		actions[r[0]][strings.ToLower(r[1])] = r
	}
	services := map[string][][]string{}
	for _, o := range ops {
		services[o[0]] = append(services[o[0]], o)
	}
	used := map[string]bool{}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(services)) {
		list := services[name]
		first := list[0]
		iam := iamPrefix(first, list, actions)
		out = append(out, strings.Join([]string{"S", name, first[3], first[2], first[4], first[5], iam}, "\t"))
		slices.SortStableFunc(list, func(a, b []string) int { return strings.Compare(a[6], b[6]) })
		for _, o := range list {
			id := name + "\t" + o[6]
			method, uri := o[7], o[8]
			if !strings.HasPrefix(o[4], "rest") && uri == "/" {
				method, uri = "", ""
			} else {
				uri = base[name] + uri
			}
			action, row, besides := odd[id], []string(nil), ""
			if action != "" {
				for i, one := range strings.Split(action, ",") {
					p, a, _ := strings.Cut(one, ":")
					r := actions[p][strings.ToLower(a)]
					if r == nil || r[1] != a {
						return nil, fmt.Errorf("irregular.tsv: IAM knows no action %s", one)
					}
					if i == 0 {
						row = r
					} else {
						besides += letter(r[2])
					}
				}
			} else if row = actions[iam][strings.ToLower(o[6])]; row != nil {
				action = iam + ":" + row[1]
			} else if name == "apigateway" || name == "apigatewayv2" {
				action = "apigateway:" + method
				row = actions["apigateway"][strings.ToLower(method)]
			}
			if action == "" {
				action = iam + ":" + o[6]
			}
			switch {
			case row == nil && !unlisted[id]:
				return nil, fmt.Errorf("IAM lists no action %s for %s: its action belongs into irregular.tsv, or the operation into unlisted.tsv", action, o[6])
			case row != nil && unlisted[id]:
				return nil, fmt.Errorf("unlisted.tsv: IAM lists %s for %q", action, id)
			}
			used[id] = true
			level, types := guess(o[6]), ""
			if row != nil {
				level, types = letter(row[2]), strings.ReplaceAll(row[3], "*", "")
				if strings.HasSuffix(row[3], "*") && !strings.Contains(row[3], ",") {
					types = "*" + types
				}
			}
			out = append(out, strings.TrimRight(strings.Join([]string{"O", o[6], method, uri, action, level + besides, types}, "\t"), "\t"))
		}
	}
	for _, prefix := range []string{"s3-object-lambda", "s3-outposts", "s3express"} {
		var names []string
		for _, r := range actions[prefix] {
			names = append(names, r[1])
		}
		slices.Sort(names)
		out = append(out, "E\t"+prefix+"\t"+strings.Join(names, ","))
	}
	for id := range odd {
		if !used[id] {
			return nil, fmt.Errorf("irregular.tsv: no operation %q", id)
		}
	}
	for id := range unlisted {
		if !used[id] {
			return nil, fmt.Errorf("unlisted.tsv: no operation %q", id)
		}
	}
	return out, nil
}

// iamPrefix tells under which prefix IAM lists a service's actions: its signing
// name where IAM has that, unless another prefix knows far more of the operations.
func iamPrefix(first []string, list [][]string, actions map[string]map[string][]string) string {
	known := func(prefix string) (n int) {
		for _, o := range list {
			if actions[prefix][strings.ToLower(o[6])] != nil {
				n++
			}
		}
		return n
	}
	signing := first[3]
	if actions[signing] != nil {
		return signing
	}
	best, most := signing, 0
	for _, p := range slices.Sorted(maps.Keys(actions)) {
		if n := known(p); n > most {
			best, most = p, n
		}
	}
	if most*5 < len(list)*4 {
		if actions[first[2]] != nil {
			return first[2]
		}
		return signing
	}
	return best
}

func letter(level string) string {
	switch {
	case strings.HasPrefix(level, "Permissions"):
		return "P"
	case strings.HasPrefix(level, "Tagging"):
		return "T"
	}
	return level[:1]
}

func guess(op string) string {
	switch {
	case strings.HasPrefix(op, "List"), strings.HasPrefix(op, "Search"):
		return "l"
	case strings.HasPrefix(op, "Get"), strings.HasPrefix(op, "Describe"), strings.HasPrefix(op, "Head"), strings.HasPrefix(op, "BatchGet"), strings.HasPrefix(op, "BatchDescribe"):
		return "r"
	case strings.HasPrefix(op, "Tag"), strings.HasPrefix(op, "Untag"):
		return "t"
	}
	return "w"
}
