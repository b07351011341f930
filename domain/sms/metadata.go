package sms

import (
	"encoding/binary"
	"regexp/syntax"
	"slices"
	"strconv"
	"sync"

	"github.com/nyaruka/phonenumbers"
)

// The number metadata has patterns of national numbers, and its library tries some tens of them for one number. What it
// says is a function of the digits, so an automaton over the ten digits says the same in one pass, without
// allocations. It is made of the patterns themselves, once for each calling code that is asked about.

// classified is what the number metadata says about one number: its kind, and its region as
// phonenumbers.GetRegionCodeForNumber has it ("" if it knows none).
type classified struct {
	kind   phonenumbers.PhoneNumberType
	region string
}

// automaton classifies the national numbers of one calling code.
type automaton struct {
	start  uint32
	states []digitState
	// answers has what is said about numbers; the first one is for those that no pattern matches.
	answers []classified
}

// digitState is a state of an automaton: the state after each digit, and the answer for a number that ends here. State 0
// has answer 0 and leads to itself.
type digitState struct {
	next   [10]uint32
	answer uint32
}

// of is what the metadata says about a national number, which has digits only.
func (a *automaton) of(national string) classified {
	s := a.start
	for i := range len(national) {
		s = a.states[s].next[national[i]-'0']
	}
	return a.answers[a.states[s].answer]
}

// classify is what the metadata says about the number. ok is false if it is no number.
func (n Number) classify() (c classified, ok bool) {
	if n == "" || n[0] != '+' || len(n) > 1+maxDigits {
		return c, false
	}
	p, national := split(string(n[1:]))
	if p == nil || national == "" {
		return c, false
	}
	for i := range len(national) {
		if national[i] < '0' || national[i] > '9' {
			return c, false
		}
	}
	return p.metadata().of(national), true
}

// pattern is a pattern of the metadata: the number of its program, and the lengths of numbers that it is for (bit n for
// n digits).
type pattern struct {
	program int
	lengths uint32
}

// program is the text of a pattern, compiled. Its instructions have numbers from base on.
type program struct {
	*syntax.Prog
	base   int
	prefix bool // it is for how a number begins
}

// territory is what the metadata has about the numbers of one region, or of a network of no country.
type territory struct {
	region string
	// begins is what the region's numbers begin with. If leading is false, they are told by their kinds.
	begins                 pattern
	leading                bool
	general, fixed, mobile pattern
	services               [len(serviceKinds)]pattern
	oneShape               bool // fixed lines and mobiles have the same pattern
}

// serviceKinds are the kinds that are tried before fixed lines and mobiles, in this order.
var serviceKinds = [...]phonenumbers.PhoneNumberType{phonenumbers.PREMIUM_RATE, phonenumbers.TOLL_FREE, phonenumbers.SHARED_COST,
	phonenumbers.VOIP, phonenumbers.PERSONAL_NUMBER, phonenumbers.PAGER, phonenumbers.UAN, phonenumbers.VOICEMAIL}

// kind is the kind of a number in one territory, as phonenumbers.GetNumberType has it. matches says whether the
// number matches a pattern.
func (t *territory) kind(matches func(pattern) bool) phonenumbers.PhoneNumberType {
	if !matches(t.general) {
		return phonenumbers.UNKNOWN
	}
	for i, p := range t.services {
		if matches(p) {
			return serviceKinds[i]
		}
	}
	fixed, mobile := matches(t.fixed), matches(t.mobile)
	switch {
	case fixed && (t.oneShape || mobile):
		return phonenumbers.FIXED_LINE_OR_MOBILE
	case fixed:
		return phonenumbers.FIXED_LINE
	case mobile && !t.oneShape:
		return phonenumbers.MOBILE
	}
	return phonenumbers.UNKNOWN
}

// builder makes an automaton.
type builder struct {
	*automaton
	territories []territory
	programs    []program
	programOf   []int // by the number of an instruction
	byText      map[string]int
	marks       []int // by the number of an instruction: the last step that came to it
	steps       int

	byProgress map[string]uint32     // the states by how far the programs have come
	byState    map[digitState]uint32 // equal states are one
	byAnswer   map[classified]uint32
}

func newAutomaton(code string) *automaton {
	b := &builder{automaton: &automaton{}, byText: map[string]int{}, byProgress: map[string]uint32{}, byState: map[digitState]uint32{}, byAnswer: map[classified]uint32{}}
	b.read(code)
	number(&b.answers, b.byAnswer, b.judge(nil, 0))
	number(&b.states, b.byState, digitState{})
	b.marks = make([]int, len(b.programOf))
	b.steps++
	var from []int
	for i := range b.programs {
		from = b.follow(from, b.programs[i].base+b.programs[i].Start)
	}
	b.start = b.build(from, 0, maxDigits-len(code))
	return b.automaton
}

// read takes the territories of a calling code from the metadata, in the order in which its library tries them.
func (b *builder) read(code string) {
	calling, err := strconv.Atoi(code)
	if err != nil {
		panic(err) // a calling code of planTable
	}
	all, err := phonenumbers.MetadataCollection()
	if err != nil {
		panic(err) // it is embedded, and its package has read it
	}
	for _, region := range phonenumbers.GetRegionCodesForCountryCode(calling) {
		for _, m := range all.GetMetadata() {
			if m.GetId() == region && (region != phonenumbers.REGION_CODE_FOR_NON_GEO_ENTITY || int(m.GetCountryCode()) == calling) {
				b.territories = append(b.territories, b.territory(m))
			}
		}
	}
}

func (b *builder) territory(m *phonenumbers.PhoneMetadata) territory {
	t := territory{region: m.GetId(), general: b.pattern(m.GetGeneralDesc()), fixed: b.pattern(m.GetFixedLine()), mobile: b.pattern(m.GetMobile()),
		oneShape: m.GetSameMobileAndFixedLinePattern(), leading: m.GetLeadingDigits() != ""}
	if t.leading {
		t.begins = pattern{b.program(m.GetLeadingDigits(), true), ^uint32(0)}
	}
	for i, d := range [len(serviceKinds)]*phonenumbers.PhoneNumberDesc{m.GetPremiumRate(), m.GetTollFree(), m.GetSharedCost(),
		m.GetVoip(), m.GetPersonalNumber(), m.GetPager(), m.GetUan(), m.GetVoicemail()} {
		t.services[i] = b.pattern(d)
	}
	return t
}

// pattern is a pattern of the metadata. One without lengths is for numbers of any length; a kind that a region does not
// have is for numbers of -1 digits.
func (b *builder) pattern(d *phonenumbers.PhoneNumberDesc) pattern {
	p := pattern{program: b.program(d.GetNationalNumberPattern(), false)}
	for _, n := range d.GetPossibleLength() {
		if n >= 0 {
			p.lengths |= 1 << n
		}
	}
	if len(d.GetPossibleLength()) == 0 {
		p.lengths = ^uint32(0)
	}
	return p
}

func (b *builder) program(text string, prefix bool) int {
	key := strconv.FormatBool(prefix) + text
	n, ok := b.byText[key]
	if ok {
		return n
	}
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		panic(err) // the library compiles it too
	}
	prog, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		panic(err)
	}
	n = len(b.programs)
	b.byText[key] = n
	b.programs = append(b.programs, program{prog, len(b.programOf), prefix})
	for range prog.Inst {
		b.programOf = append(b.programOf, n)
	}
	return n
}

// follow adds the instructions that an instruction leads to without a digit: those that wait for a digit, and ends.
func (b *builder) follow(to []int, at int) []int {
	if b.marks[at] == b.steps {
		return to
	}
	b.marks[at] = b.steps
	p := &b.programs[b.programOf[at]]
	in := &p.Inst[at-p.base]
	switch in.Op {
	case syntax.InstAlt, syntax.InstAltMatch:
		return b.follow(b.follow(to, p.base+int(in.Out)), p.base+int(in.Arg))
	case syntax.InstCapture, syntax.InstNop:
		return b.follow(to, p.base+int(in.Out))
	case syntax.InstFail:
		return to
	case syntax.InstEmptyWidth:
		panic("a pattern of the number metadata asks for more than digits")
	}
	return append(to, at)
}

// step is where the programs are after one more digit.
func (b *builder) step(from []int, digit rune) (to []int) {
	b.steps++
	for _, at := range from {
		p := &b.programs[b.programOf[at]]
		in := &p.Inst[at-p.base]
		switch {
		case in.Op != syntax.InstMatch && in.MatchRune(digit):
			to = b.follow(to, p.base+int(in.Out))
		case in.Op == syntax.InstMatch && p.prefix: // whatever follows
			to = b.follow(to, at)
		}
	}
	slices.Sort(to)
	return to
}

// build makes the state of where the programs are after some digits, and the states to which up to more digits lead.
func (b *builder) build(from []int, length, more int) uint32 {
	key := []byte{byte(length)}
	for _, at := range from {
		key = binary.AppendUvarint(key, uint64(at))
	}
	if s, ok := b.byProgress[string(key)]; ok {
		return s
	}
	s := digitState{answer: number(&b.answers, b.byAnswer, b.judge(from, length))}
	if more > 0 && len(from) > 0 {
		for d := range s.next {
			s.next[d] = b.build(b.step(from, '0'+rune(d)), length+1, more-1)
		}
	}
	n := number(&b.states, b.byState, s)
	b.byProgress[string(key)] = n
	return n
}

// judge is what the metadata says about a number of some length, at whose end the programs are where they are.
func (b *builder) judge(at []int, length int) classified {
	ended := make([]bool, len(b.programs))
	for _, at := range at {
		p := b.programOf[at]
		ended[p] = ended[p] || b.programs[p].Inst[at-b.programs[p].base].Op == syntax.InstMatch
	}
	matches := func(p pattern) bool { return ended[p.program] && p.lengths&(1<<length) != 0 }
	if len(b.territories) == 1 {
		return classified{b.territories[0].kind(matches), b.territories[0].region}
	}
	for i := range b.territories {
		t := &b.territories[i]
		kind := t.kind(matches)
		if t.leading && matches(t.begins) || !t.leading && kind != phonenumbers.UNKNOWN {
			return classified{kind, t.region}
		}
	}
	return classified{kind: phonenumbers.UNKNOWN}
}

// number is the number of a value among all, where it stands once.
func number[V comparable](all *[]V, numbers map[V]uint32, v V) uint32 {
	n, ok := numbers[v]
	if !ok {
		n = uint32(len(*all))
		*all = append(*all, v)
		numbers[v] = n
	}
	return n
}

// metadataOf makes the automaton of a calling code when it is first asked for.
func metadataOf(code string) func() *automaton {
	return sync.OnceValue(func() *automaton { return newAutomaton(code) })
}
