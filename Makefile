# ferry: `make` builds the library and the tool, `make help` lists the rest.
#
# Sources are found by wildcard: a new file needs no line here; a new transport needs one (WITH_…, PKG_…).
# A variant (a sanitizer, another compiler) has products in build/<variant> and objects in build/obj/<variant>, so that
# none disturbs the others. CFLAGS, CPPFLAGS, LDFLAGS from outside come after ours. V=1 shows the commands.

VERSION  := $(shell sed -n 's/^.define FERRY_VERSION "\(.*\)"/\1/p' include/ferry/ferry.h)
SONAME   := libferry.so.0
PREFIX   ?= /usr/local
LIBDIR   ?= $(PREFIX)/lib
CFLAGS   ?= -O2 -g
CXXFLAGS ?= $(CFLAGS)
WERROR   ?= -Werror
PKG      ?= pkg-config
INSTALL  ?= install
Q        := $(if $(V),,@)
say      := @$(if $(findstring s,$(firstword -$(MAKEFLAGS))),:,echo)

# ---- Variants: SAN=address, SAN=thread, SAN=undefined; or any VARIANT=name with settings of your own -------------------

SAN      ?=
VARIANT  ?= $(or $(patsubst address,asan,$(patsubst thread,tsan,$(patsubst undefined,ubsan,$(SAN)))),plain)
B        := build$(if $(filter-out plain,$(VARIANT)),/$(VARIANT))
O        := build/obj/$(VARIANT)
SANFLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer)

# ---- Transports: mem and file are always in; WITH_<NAME>=0 leaves src/backends/<name>/ and its library out --------------

WITH_REDIS ?= 1
WITH_AMQP  ?= 1
WITH_KAFKA ?= 1
PKG_REDIS  := hiredis openssl
PKG_AMQP   := librabbitmq openssl
PKG_KAFKA  := rdkafka

OPTIONAL   := REDIS AMQP KAFKA
CHOSEN     := $(foreach t,$(OPTIONAL),$(if $(filter 1,$(WITH_$t)),$t))
LEFT_OUT   := $(shell echo $(filter-out $(CHOSEN),$(OPTIONAL)) | tr A-Z a-z)
NET        := $(if $(filter REDIS AMQP,$(CHOSEN)),net)

# ---- Libraries, msgpack-c by the first name that pkg-config knows ------------------------------------------------------

MSGPACK  := $(firstword $(foreach p,msgpack-c msgpackc msgpack,$(shell $(PKG) --exists $p && echo $p)))
NEEDED   := $(or $(MSGPACK),msgpack) sqlite3 $(sort $(foreach t,$(CHOSEN),$(PKG_$t)))
LIB_INC  := $(shell $(PKG) --cflags $(NEEDED) 2>/dev/null) $(CHOSEN:%=-DFERRY_WITH_%)
LIB_LIBS := $(shell $(PKG) --libs $(NEEDED) 2>/dev/null) -pthread
CLI_INC  := $(shell $(PKG) --cflags jansson 2>/dev/null)
CLI_LIBS := $(shell $(PKG) --libs jansson 2>/dev/null)

# ---- Flags -------------------------------------------------------------------------------------------------------------

WARN     := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wvla $(WERROR)
COMMON   := -fPIC -pthread -D_GNU_SOURCE -Iinclude $(SANFLAGS)
C_OURS   := -std=c11 $(WARN) -Wstrict-prototypes -Wmissing-prototypes $(COMMON)
CXX_OURS := -std=c++17 $(WARN) $(COMMON)
LINK      = $(CC) $(SANFLAGS) $(CFLAGS) $(LDFLAGS)

# ---- What there is -----------------------------------------------------------------------------------------------------

LIB_SRC  := $(wildcard src/core/*/*.c $(if $(NET),src/net/*.c) src/backends/*.c src/backends/*/*.c)
LIB_SRC  := $(filter-out $(foreach t,$(LEFT_OUT),src/backends/$t.c src/backends/$t/%),$(LIB_SRC))
CLI_SRC  := $(wildcard src/cli/*.c)
NO_TEST  := $(foreach t,$(LEFT_OUT) $(if $(NET),,net),tests/unit/$t_% tests/integration/$t_%)
HARNESS  := $(wildcard tests/*.c)
FIXTURES := $(wildcard tests/fixtures/*.c)
SUITES   := $(foreach s,unit conformance integration oom,$(if $(wildcard tests/$s/*.c),$s))
SCRIPTS  := $(wildcard tests/*/check.sh)
EXAMPLES := $(wildcard examples/*.c examples/*.cc examples/*/*.c)

objects   = $(patsubst %,$(O)/%.o,$(1))
LIB_OBJ  := $(call objects,$(LIB_SRC))
CLI_OBJ  := $(call objects,$(CLI_SRC))
TESTS    := $(SUITES:%=$(B)/test-%)

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all lib tests examples check check-asan check-tsan check-ubsan check-clang check-long lint format docs \
        install clean help FORCE

all: lib $(B)/ferry
lib: $(B)/libferry.so $(B)/libferry.a
tests: $(TESTS) $(B)/test-fixtures
examples: $(patsubst examples/%,$(B)/examples/%,$(basename $(EXAMPLES)))

# ---- Objects: each folder sees no more than it may include -------------------------------------------------------------

INSIDE := -Isrc/core -Isrc $(LIB_INC)
ROOT   := -DFERRY_TEST_ROOT='"$(CURDIR)"'
$(O)/src/core/% $(O)/src/backends/% $(O)/src/net/%: INC = $(INSIDE)
$(O)/src/cli/%: INC = $(CLI_INC)
$(O)/tools/%: INC = $(INSIDE)
$(O)/tests/%: INC = -Itests $(ROOT) $(CHOSEN:%=-DFERRY_WITH_%)
$(O)/tests/bench/%: INC = $(INSIDE)
$(O)/tests/unit/% $(O)/tests/oom/% $(O)/tests/fixtures/% $(call objects,$(HARNESS)): INC = -Itests $(INSIDE) $(CLI_INC) $(ROOT)

$(O)/%.c.o: %.c $(O)/flags
	@mkdir -p $(@D)
	$(say)  $(CC) $@
	$(Q)$(CC) $(C_OURS) -MMD -MP $(INC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

$(O)/%.cc.o: %.cc $(O)/flags
	@mkdir -p $(@D)
	$(say)  $(CXX) $@
	$(Q)$(CXX) $(CXX_OURS) -MMD -MP $(INC) $(CPPFLAGS) $(CXXFLAGS) -c -o $@ $<

# Rewritten only when their text changes: other flags rebuild everything, a source that came or went links anew.
remember = @mkdir -p $(@D); echo "$(1)" | cmp -s - $@ || echo "$(1)" > $@
$(O)/flags: FORCE | probe
	$(call remember,$(CC) $(CXX) $(C_OURS) $(LIB_INC) $(CPPFLAGS) $(CFLAGS) $(CXXFLAGS) $(LDFLAGS))
$(O)/sources: FORCE
	$(call remember,$(LIB_SRC) $(CLI_SRC))

.PHONY: probe
probe:
	@$(PKG) --exists $(NEEDED) jansson || { echo "pkg-config does not find all of: $(NEEDED) jansson" >&2; \
	echo "Debian: apt-get install libmsgpack-dev (13: libmsgpack-c-dev) libsqlite3-dev libjansson-dev" >&2; \
	echo "        libhiredis-dev libssl-dev librabbitmq-dev librdkafka-dev; or make WITH_REDIS=0 WITH_AMQP=0 WITH_KAFKA=0" >&2; exit 1; }

-include $(patsubst %.o,%.d,$(shell find $(O) -name '*.o' 2>/dev/null))

# ---- Products ----------------------------------------------------------------------------------------------------------

$(B)/libferry.a: $(LIB_OBJ) $(O)/sources
	@mkdir -p $(@D) && rm -f $@
	$(Q)$(AR) rcs $@ $(LIB_OBJ)

# A sanitizer's own symbols come from the program, so only the plain library can ask for all to be defined.
$(B)/$(SONAME): $(LIB_OBJ) $(O)/sources src/ferry.map
	@mkdir -p $(@D)
	$(say)  link $@
	$(Q)$(LINK) -shared -Wl,-soname,$(SONAME) -Wl,--version-script,src/ferry.map $(if $(SAN),,-Wl,-z,defs) \
	-o $@ $(LIB_OBJ) $(LIB_LIBS)

$(B)/libferry.so: $(B)/$(SONAME)
	$(Q)ln -sf $(SONAME) $@

$(O)/cli.a: $(CLI_OBJ) $(O)/sources
	@rm -f $@
	$(Q)$(AR) rcs $@ $(filter-out %/main.c.o,$(CLI_OBJ))

$(B)/ferry: $(CLI_OBJ) $(B)/libferry.a
	$(say)  link $@
	$(Q)$(LINK) -o $@ $^ $(LIB_LIBS) $(CLI_LIBS)

# One program per suite. The unit tests may also reach into the tool.
define suite_rule
$(B)/test-$(1): $(call objects,$(filter-out $(NO_TEST),$(wildcard tests/$(1)/*.c)) $(HARNESS)) $(B)/libferry.a $(if $(filter unit,$(1)),$(O)/cli.a)
	$$(say)  link $$@
	$$(Q)$$(LINK) -o $$@ $$(filter %.o,$$^) $(if $(filter unit,$(1)),$(O)/cli.a) $(B)/libferry.a $(LIB_LIBS) $(CLI_LIBS)
endef
$(foreach s,$(SUITES),$(eval $(call suite_rule,$s)))

$(B)/test-fixtures: $(call objects,$(FIXTURES) $(HARNESS)) $(B)/libferry.a
	$(say)  link $@
	$(Q)$(LINK) -o $@ $^ $(LIB_LIBS)

$(B)/examples/%: $(O)/examples/%.c.o $(B)/libferry.a
	@mkdir -p $(@D)
	$(say)  link $@
	$(Q)$(LINK) -o $@ $^ $(LIB_LIBS)

$(B)/examples/%: $(O)/examples/%.cc.o $(B)/libferry.a
	@mkdir -p $(@D)
	$(say)  link $@
	$(Q)$(CXX) $(SANFLAGS) $(CXXFLAGS) $(LDFLAGS) -o $@ $^ $(LIB_LIBS)

# Micro benchmarks of single modules: they print and assert nothing.
$(B)/%_bench: $(O)/tests/bench/%_bench.c.o $(B)/libferry.a
	$(say)  link $@
	$(Q)$(LINK) -o $@ $^ $(LIB_LIBS)

.PHONY: bench
bench: $(patsubst tests/bench/%.c,$(B)/%,$(wildcard tests/bench/*.c))
	@for program in $^; do $$program || exit 1; done

# ---- Checks: T="words" runs only the cases whose address contains one of them ------------------------------------------

T ?=
check: all tests examples
	@BUILD=$(B) tools/with-brokers $(CURDIR)/$(B)/brokers $(shell echo $(CHOSEN) | tr A-Z a-z) -- \
		tools/check $(TESTS) $(if $(SAN),,$(SCRIPTS)) -- $(T)

check-asan:
	@$(MAKE) SAN=address check
check-tsan:
	@$(MAKE) SAN=thread check
check-ubsan:
	@$(MAKE) SAN=undefined check
check-clang:
	@$(MAKE) VARIANT=clang CC=clang CXX=clang++ all tests examples

check-long: export FERRY_TEST_LONG := 1
check-long: check-clang
	@for san in "" address thread undefined; do $(MAKE) SAN=$$san check || exit 1; done

$(B)/settings: $(call objects,tools/settings.c) $(B)/libferry.a
	$(Q)$(LINK) -o $@ $^ $(LIB_LIBS)

# The tables of options in docs/transports are made from those that the library checks URLs against.
docs: $(B)/settings
	$(B)/settings --write docs/transports

lint: all $(B)/settings
	@failed=0; echo "lint: settings"; $(B)/settings --check docs/transports || failed=1; \
	 for tool in selftest format layers sizes banned symbols static manual; do \
	echo "lint: $$tool"; tools/$$tool || failed=1; done; exit $$failed

format:
	@tools/format --write

# ---- The rest ----------------------------------------------------------------------------------------------------------

install: all
	$(INSTALL) -d $(addprefix $(DESTDIR),$(PREFIX)/include/ferry $(LIBDIR)/pkgconfig $(PREFIX)/bin $(PREFIX)/share/man/man1)
	$(INSTALL) -m 644 include/ferry/*.h $(DESTDIR)$(PREFIX)/include/ferry/
	$(INSTALL) -m 644 $(B)/libferry.a $(DESTDIR)$(LIBDIR)/
	$(INSTALL) -m 755 $(B)/$(SONAME) $(DESTDIR)$(LIBDIR)/libferry.so.$(VERSION)
	ln -sf libferry.so.$(VERSION) $(DESTDIR)$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libferry.so
	sed 's|@PREFIX@|$(PREFIX)|; s|@LIBDIR@|$(LIBDIR)|; s|@VERSION@|$(VERSION)|; s|@NEEDED@|$(NEEDED)|' ferry.pc.in \
	> $(DESTDIR)$(LIBDIR)/pkgconfig/ferry.pc
	$(INSTALL) -m 755 $(B)/ferry $(DESTDIR)$(PREFIX)/bin/
	$(INSTALL) -m 644 man/ferry.1 $(DESTDIR)$(PREFIX)/share/man/man1/

clean:
	rm -rf build

help:
	@echo 'make                    the library and the tool, in build/'
	@echo 'make check              every test; T="calls::echo value_test" only those'
	@echo 'make check-asan         the same under AddressSanitizer; also check-tsan, check-ubsan'
	@echo 'make check-clang        everything builds with clang, without a warning'
	@echo 'make check-long         all of these with the full numbers; tools/debian13 runs them on Debian 13'
	@echo 'make lint format        style, layers, sizes, symbols; write the style'
	@echo 'make examples           build/examples/…'
	@echo 'make bench docs         micro benchmarks of single modules; the tables of options in docs/transports'
	@echo 'make install            PREFIX=$(PREFIX) DESTDIR=$(DESTDIR)'
	@echo 'WITH_REDIS=0 WITH_AMQP=0 WITH_KAFKA=0   SAN=address|thread|undefined   CC=… CFLAGS=… WERROR='
