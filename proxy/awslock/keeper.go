package awslock

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy/grants"
)

const (
	// every is how often AWS is looked at without a reason: other proxies may have
	// known less than this one.
	every = time.Minute
	// soon and late bound the wait after a failure.
	soon, late = time.Second, time.Minute
	// settle is the wait after a change, for what IAM shows to be what it holds.
	settle = 10 * time.Second
	// callTimeout bounds one role's calls.
	callTimeout = 30 * time.Second
)

// Config of a Keeper.
type Config struct {
	// Proxy is the name of the proxy, for events.
	Proxy  string
	Grants *grants.Grants
	// Client gives a client of IAM that may get, put and delete inline policies of
	// the roles of an account.
	Client func(ctx context.Context, partition, account string) (*iam.Client, error)
	// Record appends an event and returns when it is durable.
	Record func(context.Context, events.Event) error
	Log    zerolog.Logger
	Now    func() time.Time
}

// Keeper keeps the policies of roles as locks want them.
type Keeper struct {
	cfg Config
	// ours are the roles where a policy was seen or put: they are looked at until
	// it is gone.
	ours map[string]grants.Denial
	// left are the policies as this proxy put them, or found them right.
	left map[string]string
	// looked: the roles of all sessions were looked at once.
	looked bool
	// said are failures that were recorded and last.
	said map[string]string
}

// New returns a keeper that has not looked yet.
func New(cfg Config) *Keeper {
	return &Keeper{cfg: cfg, ours: map[string]grants.Denial{}, left: map[string]string{}, said: map[string]string{}}
}

// Run works until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	retry := soon
	for {
		changed := k.cfg.Grants.LocksChanged()
		wrote, failed := k.sweep(ctx)
		wait := every
		switch {
		case failed:
			wait, retry = retry, min(2*retry, late)
		case wrote:
			wait, retry = settle, soon
		default:
			retry = soon
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// sweep looks at every role that a lock reaches or reached, and once at those of
// all sessions, whose locks may have been lifted while no proxy ran.
func (k *Keeper) sweep(ctx context.Context) (wrote, failed bool) {
	now := k.cfg.Now()
	deaf := k.cfg.Grants.Deaf(now)
	wanted := map[string][]grants.Denial{}
	roles := map[string]grants.Denial{}
	if !k.looked && !deaf {
		roles = k.cfg.Grants.Roles(now)
		k.looked = true
	}
	maps.Copy(roles, k.ours)
	for _, d := range k.cfg.Grants.Denials(now) {
		roles[d.RoleARN] = d
		wanted[d.RoleARN] = append(wanted[d.RoleARN], d)
	}
	for arn, role := range roles {
		if ctx.Err() != nil {
			return wrote, failed
		}
		changed, err := k.keep(ctx, role, wanted[arn], deaf)
		wrote = wrote || changed
		if err == nil {
			delete(k.said, arn)
			continue
		}
		if len(wanted[arn]) == 0 && k.ours[arn].RoleARN == "" {
			continue // nothing of ours is known to be there
		}
		failed = true
		k.fail(ctx, role, wanted[arn], err)
	}
	return wrote, failed || deaf
}

// keep makes a role's policy what it should be. A deaf proxy brings the locks that it knows
// where nobody else has changed anything: it may not know a lock that another one has brought
// to AWS, or that one was lifted.
func (k *Keeper) keep(ctx context.Context, role grants.Denial, wanted []grants.Denial, deaf bool) (changed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	client, err := k.cfg.Client(ctx, role.Partition, role.Account)
	if err != nil {
		return false, err
	}
	name := roleName(role.RoleARN)
	have, err := current(ctx, client, name)
	if err != nil {
		return false, err
	}
	if have != "" || len(wanted) > 0 {
		k.ours[role.RoleARN] = role
	}
	if deaf && (len(wanted) == 0 || have != k.left[role.RoleARN]) {
		return false, nil
	}
	if len(wanted) == 0 {
		delete(k.left, role.RoleARN)
		if have == "" {
			delete(k.ours, role.RoleARN)
			return false, nil
		}
		_, err = client.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: aws.String(name), PolicyName: aws.String(PolicyName)})
		if _, gone := errors.AsType[*types.NoSuchEntityException](err); err != nil && !gone {
			return false, err
		}
		return true, k.record(ctx, have, &events.AWSLockLifted{AWSRoleARN: role.RoleARN, Account: role.Account, PolicyName: PolicyName, Proxy: k.cfg.Proxy})
	}
	forms := Policies(wanted)
	if slices.Contains(forms, have) {
		k.left[role.RoleARN] = have
		return false, nil
	}
	for _, want := range forms {
		_, err = client.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String(name), PolicyName: aws.String(PolicyName), PolicyDocument: aws.String(want)})
		if _, full := errors.AsType[*types.LimitExceededException](err); full {
			continue // with the role's other inline policies: a shorter one
		}
		if err != nil {
			return false, err
		}
		k.left[role.RoleARN] = want
		return true, k.record(ctx, want, &events.AWSLockApplied{AWSRoleARN: role.RoleARN, Account: role.Account, PolicyName: PolicyName,
			LockIDs: lockIDs(wanted), Policy: want, Proxy: k.cfg.Proxy})
	}
	return false, err
}

// record says once, whichever proxy did it, what was done to a role by or with
// a policy, which no two locks share.
func (k *Keeper) record(ctx context.Context, policy string, p events.Payload) error {
	sum := sha256.Sum256([]byte(p.Channel() + "\n" + policy))
	verb := "lifted"
	if _, applied := p.(*events.AWSLockApplied); applied {
		verb = "applied"
	}
	err := k.cfg.Record(ctx, events.Event{Meta: events.Meta{ID: "awslock/" + verb + "/" + hex.EncodeToString(sum[:16])}, Data: p})
	if err != nil {
		return fmt.Errorf("what was done to %s is not recorded: %w", p.Thing(), err)
	}
	return nil
}

// fail says once why a lock does not reach AWS.
func (k *Keeper) fail(ctx context.Context, role grants.Denial, wanted []grants.Denial, err error) {
	k.cfg.Log.Error().Err(err).Str("role", role.RoleARN).Msg("a lock does not reach AWS as it should; trying again")
	if k.said[role.RoleARN] != "" || ctx.Err() != nil {
		return
	}
	reason := err.Error()
	if k.cfg.Record(ctx, events.Event{Data: &events.AWSLockFailed{AWSRoleARN: role.RoleARN, Account: role.Account, PolicyName: PolicyName,
		LockIDs: lockIDs(wanted), Reason: reason, Proxy: k.cfg.Proxy}}) == nil {
		k.said[role.RoleARN] = reason
	}
}

// current returns our policy of a role as IAM has it, "" where there is none.
func current(ctx context.Context, client *iam.Client, role string) (string, error) {
	out, err := client.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: aws.String(role), PolicyName: aws.String(PolicyName)})
	if _, none := errors.AsType[*types.NoSuchEntityException](err); none {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return url.QueryUnescape(aws.ToString(out.PolicyDocument)) // RFC 3986, says the API reference
}

// roleName is what follows the path in a role's ARN.
func roleName(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }

func lockIDs(ds []grants.Denial) []string {
	var out []string
	for _, d := range ds {
		out = add(out, d.LockID)
	}
	return out
}
