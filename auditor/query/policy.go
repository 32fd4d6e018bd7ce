package query

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/posternhq/postern/auditor/store"
)

// PolicyFilter says whose use a policy is made from.
type PolicyFilter struct {
	AWSRole string `json:"aws_role,omitempty"` // an ARN, or a role's name
	Since   string `json:"since,omitempty"`
}

// Actions tells which IAM actions an operation takes, the first being its own,
// and how many types of resources they are granted on.
type Actions func(service, operation string) (actions []string, types int)

// LeastPolicy is what was used of an IAM role, as policies that grant no more.
type LeastPolicy struct {
	AWSRoles []string  `json:"aws_roles"`
	Since    time.Time `json:"since,omitzero"`
	Until    time.Time `json:"until"`
	// Policies are as many documents as IAM's limit on the size of one asks for.
	Policies []Document `json:"policies"`
	Used     []Use      `json:"used"`
	// Unrecognised are calls of which postern doesn't know the IAM action.
	Unrecognised []Call `json:"unrecognised,omitempty"`
	// Elsewhere are the role's calls around postern's proxy, such as those of consoles, with
	// exported keys and by AWS services in its name: the policies don't cover them.
	Elsewhere []Call `json:"elsewhere,omitempty"`
	// Inexact are resources with characters that IAM takes in no policy: in their
	// places are ? and *. No more than mostInexact are named.
	Inexact []string `json:"inexact,omitempty"`
}

// Use of one IAM action.
type Use struct {
	Action   string    `json:"action"`
	Calls    uint64    `json:"calls"`
	LastUsed time.Time `json:"last_used"`
	Regions  []string  `json:"regions,omitempty"`
}

// Call is an operation that a policy does not cover, and why not.
type Call struct {
	Service   string `ch:"service" json:"service"`
	Operation string `ch:"operation" json:"operation"`
	Verdict   string `ch:"verdict" json:"verdict,omitempty"`
	Calls     uint64 `ch:"calls" json:"calls"`
}

// mostInexact bounds LeastPolicy.Inexact.
const mostInexact = 100

// mostNames is how many ARNs of one operation are looked at one by one.
const mostNames = 500

type usage struct {
	Service   string    `ch:"service"`
	Operation string    `ch:"operation"`
	Action    string    `ch:"action"`
	Also      []string  `ch:"also"`
	Region    string    `ch:"region"`
	Source    bool      `ch:"source"` // what is copied, not what is written
	Roles     []string  `ch:"roles"`
	Calls     uint64    `ch:"calls"`
	Last      time.Time `ch:"last"`
	Bare      uint64    `ch:"bare"` // calls that name no resource
	// Names are the resources, Parents and Tops what they lie in; each is whole
	// if it has no more than mostNames.
	Names   []string `ch:"names"`
	Parents []string `ch:"parents"`
	Tops    []string `ch:"tops"`
}

// usages counts only what AWS did: a call that it denied was not granted. Rows need
// no merging for it: the one that says that a call was completed says all else too.
// Where a call may have several rows it is told from others by its microsecond and how long
// AWS took, of which there is far less to read than of ids. It counts where its first
// resource does. What lies in what is worked out once for each name.
const usages = `SELECT service, operation, action, also, region, source, groupUniqArray(100)(aws_role_arn) AS roles,
	sum(first) AS calls, max(last) AS last, sumIf(rows, r = '') AS bare,
	groupUniqArrayIf(501)(r, r != '') AS names,
	groupUniqArrayIf(501)(replaceRegexpOne(r, '^(([^:]*:){5}.*[/:]).*$', '\\1'), r != '') AS parents,
	groupUniqArrayIf(501)(replaceRegexpOne(r, '^(([^:]*:){5}[^/:]*[/:]).*$', '\\1'), r != '') AS tops
FROM
(
	SELECT service, operation, action, also, region, operation IN ('CopyObject', 'UploadPartCopy') AND i > 1 AS source, r, aws_role_arn,
		uniqExactIf(received_at, latency_us, i = 1 + source AND SHARED) + countIf(i = 1 + source AND NOT SHARED) AS first, max(received_at) AS last, count() AS rows
	FROM TABLE
	ARRAY JOIN if(empty(resources), [''], resources) AS r, arrayEnumerate(if(empty(resources), [''], resources)) AS i
	WHERE CONDITION
	GROUP BY service, operation, action, also, region, source, r, aws_role_arn
)
GROUP BY service, operation, action, also, region, source ORDER BY ALL`

// usages is the statement, of rows from a time on.
func (a *Asker) usages(since time.Time, condition *where) string {
	shared := "1"
	switch {
	case a.narrow: // the view merges
		shared = "0"
	case !a.shards: // each of which would have parts of its own
		of := "1"
		if !since.IsZero() {
			of = "toStartOfHour(received_at) >= " + store.Timestamp(since.Truncate(time.Hour))
		}
		shared = "toStartOfHour(received_at) IN (" + ours.sharedHours(of) + ")"
	}
	return strings.NewReplacer("TABLE", a.table(ours), "CONDITION", condition.String(), "SHARED", shared).Replace(usages)
}

// Policy writes the least IAM policy that allows what was done under a role.
func (a *Asker) Policy(ctx context.Context, f PolicyFilter, actions Actions) (*LeastPolicy, error) {
	if f.AWSRole == "" {
		return nil, &BadInput{"aws_role", "is empty: give the IAM role's name or ARN"}
	}
	now := a.now()
	since, err := Time("since", f.Since, now)
	if err != nil {
		return nil, err
	}
	p := &LeastPolicy{Since: since, Until: now.UTC(), AWSRoles: []string{}, Used: []Use{}}
	var rows []usage
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() error {
		done, err := a.ofRole(ctx, ours, "aws_role_arn", f.AWSRole)
		if err != nil {
			return err
		}
		if !since.IsZero() {
			done.add("received_at >= " + store.Timestamp(since))
		}
		done.add(`outcome = 'completed' AND status != 403 AND NOT match(error_code, 'AccessDenied|Unauthorized|NotAuthorized')`)
		if err := a.conn.Select(ctx, &rows, a.usages(since, done), done.args...); err != nil {
			return fmt.Errorf("ask for the use of %s: %w", f.AWSRole, err)
		}
		return nil
	})
	both.Go(func() error {
		around, err := a.ofRole(ctx, theirs, "issuer_arn", f.AWSRole)
		if err != nil {
			return err
		}
		whose := *around.clone()
		around.add(`verdict IN ('console', 'exported', 'token', 'forwarded', 'bypass', '') AND NOT match(error_code, 'AccessDenied|Unauthorized|NotAuthorized')`)
		count, args := a.count(hourly{side: theirs, columns: "issuer_arn, event_source, event_name, error_code, verdict", condition: *around, mark: whose}, since)
		err = a.conn.Select(ctx, &p.Elsewhere, `SELECT toString(event_source) AS service, toString(event_name) AS operation, toString(verdict) AS verdict, sum(n) AS calls
		FROM (`+count+`) GROUP BY ALL ORDER BY calls DESC, service, operation, verdict LIMIT 100`, args...)
		if err != nil {
			return fmt.Errorf("ask for calls of %s around postern: %w", f.AWSRole, err)
		}
		return nil
	})
	if err := both.Wait(); err != nil {
		return nil, err
	}
	p.fill(rows, actions)
	return p, nil
}

// ofRole is true of calls under a role. By whole ARNs the rows of a role are found in the
// tables' projections; which of them have a role's name is looked up first, in one column.
func (a *Asker) ofRole(ctx context.Context, s side, column, role string) (*where, error) {
	named := &where{}
	matchRole(named, column, role)
	if a.narrow || strings.HasPrefix(role, "arn:") && !strings.Contains(role, "*") {
		return named, nil
	}
	var arns []string
	row := a.conn.QueryRow(ctx, "SELECT groupArray(arn) FROM (SELECT DISTINCT toString("+column+") AS arn FROM "+s.rows+" WHERE "+named.String()+")", named.args...)
	if err := row.Scan(&arns); err != nil {
		return nil, fmt.Errorf("look for roles %s: %w", role, err)
	}
	if len(arns) == 0 || len(arns) > mostNames {
		return named, nil
	}
	whole := &where{}
	whole.add(column+" IN (?)", arns)
	return whole, nil
}

func (p *LeastPolicy) fill(rows []usage, actions Actions) {
	grants := map[string]*grant{}
	used := map[string]*Use{}
	for i := range rows {
		u := &rows[i]
		p.AWSRoles = append(p.AWSRoles, u.Roles...)
		if u.Action == "" {
			p.Unrecognised = append(p.Unrecognised, Call{Service: u.Service, Operation: u.Operation, Calls: u.Calls})
			continue
		}
		names, types := u.actions(actions)
		for _, name := range names {
			if grants[name] == nil {
				grants[name], used[name] = &grant{regions: map[string]bool{}, resources: map[string]bool{}}, &Use{Action: name}
			}
			p.inexact(grants[name].take(u, types))
			used[name].Calls += u.Calls
			if u.Last.After(used[name].LastUsed) {
				used[name].LastUsed = u.Last.UTC()
			}
		}
	}
	for name, g := range grants {
		used[name].Regions = sorted(g.regions)
		p.Used = append(p.Used, *used[name])
	}
	slices.SortFunc(p.Used, func(x, y Use) int { return strings.Compare(x.Action, y.Action) })
	slices.Sort(p.AWSRoles)
	p.AWSRoles = slices.Compact(p.AWSRoles)
	p.Policies = documents(grants)
}

// actions are those that were taken on what is named: of a copy, the source is read
// and all else is done to the copy.
func (u *usage) actions(of Actions) (names []string, types int) {
	names, types = of(u.Service, u.Operation)
	if len(u.Also) > 0 || len(names) == 0 || names[0] != u.Action { // else it is older than records of what came along
		names = append([]string{u.Action}, u.Also...)
	}
	if slices.Contains([]string{"CopyObject", "UploadPartCopy"}, u.Operation) && len(names) > 1 {
		names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return strings.Contains(name, ":Get") != u.Source })
	}
	return names, types
}

// manyTypes is from how many types of resources on an action is taken to need
// several at once, of which a request names only some: ec2:RunInstances.
const manyTypes = 4

// take adds a usage's resources, and returns those that can't be written exactly.
func (g *grant) take(u *usage, types int) (inexact []string) {
	for region := range strings.SplitSeq(u.Region, ",") { // several of a region set
		if region = strings.TrimSpace(region); strings.ContainsAny(region, "*?") {
			region = "*"
		}
		g.regions[region] = true
	}
	if u.Bare > 0 || types >= manyTypes {
		g.resources["*"] = true
		return nil
	}
	for _, list := range [][]string{u.Names, u.Parents, u.Tops} {
		if len(list) > mostNames {
			continue
		}
		for _, arn := range list {
			pattern, exact := literal(u.Operation, arn)
			g.resources[pattern] = true
			if !exact {
				inexact = append(inexact, arn)
			}
		}
		return inexact
	}
	g.resources["*"] = true
	return nil
}

func (p *LeastPolicy) inexact(arns []string) {
	for _, arn := range arns {
		if len(p.Inexact) < mostInexact && !slices.Contains(p.Inexact, arn) {
			p.Inexact = append(p.Inexact, arn)
		}
	}
}
