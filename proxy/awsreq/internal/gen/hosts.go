package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/posternhq/postern/proxy/awsreq/internal/endpoint"
)

// hosts lists what a host name's labels mean:
//
//	H key signing-name service,service…
//	X key partition suffix host-region signing-region [signing-name]
//
// X lines tell where the signing region is not the one in the host, or the signing
// name another; "-" and "-fips" are no region in the host, "*" any.
func hosts(endpoints, ops [][]string, x extras) ([]string, error) {
	type key struct {
		signing  map[string]int
		names    map[string]map[string]bool // partition, suffix and host region -> signing names
		services map[string]bool
		regions  map[string]map[string]map[string]bool // partition and suffix, host region -> signing regions
	}
	keys := map[string]*key{}
	get := func(name string) *key {
		k := keys[name]
		if k == nil {
			k = &key{map[string]int{}, map[string]map[string]bool{}, map[string]bool{}, map[string]map[string]map[string]bool{}}
			keys[name] = k
		}
		return k
	}
	for _, r := range endpoints {
		service, signing, signingRegion, host := r[0], r[3], r[4], r[9]
		p, err := endpoint.Split(host)
		if err != nil {
			return nil, fmt.Errorf("host %s: %w", host, err)
		}
		// The partition as a reader of the name can tell it.
		partition := p.Partition + "\t" + p.Suffix
		k := get(keyOf(p))
		k.signing[signing]++
		k.services[service] = true
		region := p.Region
		if region == "" {
			region = "-"
			if p.FIPS {
				region = "-fips"
			}
		}
		if k.names[partition+"\t"+region] == nil {
			k.names[partition+"\t"+region] = map[string]bool{}
		}
		k.names[partition+"\t"+region][signing] = true
		if k.regions[partition] == nil {
			k.regions[partition] = map[string]map[string]bool{}
		}
		if k.regions[partition][region] == nil {
			k.regions[partition][region] = map[string]bool{}
		}
		k.regions[partition][region][signingRegion] = true
	}
	// Endpoint prefixes whose rules need parameters and list no host.
	for _, o := range ops {
		if prefix := o[2]; keys[prefix] == nil || len(keys[prefix].regions) == 0 {
			k := get(prefix)
			k.signing[o[3]]++
			k.services[o[0]] = true
		}
	}
	// Prefixes go before endpoints as the rules list them, not before each other.
	var listed [][2]string
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		for service := range keys[name].services {
			listed = append(listed, [2]string{name, service})
		}
	}
	for _, l := range listed {
		for _, prefix := range x.prefixes[l[1]] {
			e := get(prefix + l[0])
			if len(e.regions) == 0 {
				maps.Copy(e.signing, keys[l[0]].signing)
			}
			e.services[l[1]] = true
		}
	}
	for name, service := range x.endpoints {
		for _, o := range ops {
			if o[0] == service {
				k := get(name)
				k.signing[o[3]]++
				k.services[service] = true
			}
		}
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		k := keys[name]
		signing := slices.SortedFunc(maps.Keys(k.signing), func(a, b string) int {
			return cmp.Or(k.signing[b]-k.signing[a], strings.Compare(a, b))
		})[0]
		out = append(out, strings.Join([]string{"H", name, signing, strings.Join(slices.Sorted(maps.Keys(k.services)), ",")}, "\t"))
		for _, partition := range slices.Sorted(maps.Keys(k.regions)) {
			for _, region := range slices.Sorted(maps.Keys(k.regions[partition])) {
				at := partition + "\t" + region
				if names, regions := k.names[at], k.regions[partition][region]; !names[signing] {
					other := slices.Min(slices.Collect(maps.Keys(names)))
					in := slices.Min(slices.Collect(maps.Keys(regions)))
					out = append(out, strings.Join([]string{"X", name, at, in, other}, "\t"))
				}
			}
			out = append(out, exceptions(name, partition, k.regions[partition])...)
		}
	}
	return out, nil
}

func exceptions(name, partition string, regions map[string]map[string]bool) []string {
	line := func(region, signing string) string {
		return strings.Join([]string{"X", name, partition, region, signing}, "\t")
	}
	all := map[string]bool{}
	regular := true
	for region, signing := range regions {
		maps.Copy(all, signing)
		regular = regular && len(signing) == 1 && signing[region]
	}
	if regular {
		return nil
	}
	if len(all) == 1 && len(regions) > 2 {
		for s := range all {
			return []string{line("*", s)}
		}
	}
	var out []string
	for _, region := range slices.Sorted(maps.Keys(regions)) {
		signing := regions[region]
		if signing[region] {
			continue
		}
		if len(signing) > 1 {
			// One host for all regions of two partitions: budgets, cloudfront. The
			// scope of the signature will tell; by default it is the partition's home.
			if signing["us-east-1"] {
				out = append(out, line(region, "us-east-1"))
			} else {
				out = append(out, line(region, "aws-global"))
			}
			continue
		}
		for s := range signing {
			out = append(out, line(region, s))
		}
	}
	return out
}

func keyOf(p endpoint.Parts) string {
	switch {
	case p.Right == "":
		return p.Left
	case p.Left == "":
		return p.Right
	}
	return p.Left + "|" + p.Right
}

// extras are the parts of host names that endpoint rules do not list.
type extras struct {
	prefixes  map[string][]string // by service
	endpoints map[string]string   // endpoint -> service
}

func (x *extras) add(f []string) {
	if f[0] == "=" && len(f) == 3 {
		x.endpoints[f[2]] = f[1]
		return
	}
	x.prefixes[f[0]] = append(x.prefixes[f[0]], f[1])
}

// basePaths gives the path that a service's endpoint starts with, where it has
// one: operations' paths follow behind it.
func basePaths(endpoints [][]string) map[string]string {
	out := map[string]string{}
	for _, r := range endpoints {
		if r[10] != "/" {
			out[r[0]] = strings.TrimSuffix(r[10], "/")
		}
	}
	return out
}
