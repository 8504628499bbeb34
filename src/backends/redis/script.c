/* script.c - what has to happen at once in Redis, as Lua. A script is sent by its SHA-1 once this Redis has it, else as text.
 *
 * Each begins with what all share: the clock, and a comparison of entry ids. */
#include "backends/redis/event.h"
#include "backends/redis/sha.h"

/* ---- The texts ------------------------------------------------------------------------------------------------------ */

#define CLOCK                                                                \
    "local t=redis.call('TIME') local now=t[1]*1000+math.floor(t[2]/1000)\n" \
    "local function int(n) return string.format('%.0f',n) end\n"

/* KEYS up lease parts calls posts ctl   ARGV me lease_ms serving(2: yes, 1: until what is held is settled, 0) partitions first
 * -> {now, was the lease there, surplus partitions, p, token, p, token, …} */
#define RENEW                                                                                                        \
    CLOCK                                                                                                            \
    "local me,lease,serving,up,n=ARGV[1],tonumber(ARGV[2]),ARGV[3]=='2',ARGV[3]~='0',tonumber(ARGV[4])\n"            \
    "local was=redis.call('ZSCORE',KEYS[2],me) and 1 or 0\n"                                                         \
    "local new=serving and not redis.call('ZSCORE',KEYS[1],me)\n"                                                    \
    "if ARGV[5]=='1' then\n"                                                                                         \
    "  redis.pcall('XGROUP','CREATE',KEYS[4],'ferry','0','MKSTREAM')\n"                                              \
    "  for p=0,n do redis.pcall('XGROUP','CREATE',p==0 and KEYS[5] or KEYS[5]..':'..p,'ferry','0','MKSTREAM') end\n" \
    "end\n"                                                                                                          \
    "if up then redis.call('ZADD',KEYS[1],int(now+lease),me) else redis.call('ZREM',KEYS[1],me) end\n"               \
    "redis.call('ZADD',KEYS[2],int(now+lease),me)\n"                                                                 \
    "redis.call('ZREMRANGEBYSCORE',KEYS[1],'-inf','('..int(now))\n"                                                  \
    "local flat,owner,token=redis.call('HGETALL',KEYS[3]),{},{}\n"                                                   \
    "for i=1,#flat,2 do local a,b=string.match(flat[i+1],'^(%d+) (.*)$')\n"                                          \
    "  token[flat[i]],owner[flat[i]]=tonumber(a),b end\n"                                                            \
    "local alive,mine,free={[me]=true},{},{}\n"                                                                      \
    "local function lives(c) if alive[c]==nil then local s=redis.call('ZSCORE',KEYS[2],c)\n"                         \
    "  alive[c]=s and tonumber(s)>=now or false end return alive[c] end\n"                                           \
    "for p=1,n do local k=tostring(p) local o=owner[k]\n"                                                            \
    "  if o==me then mine[#mine+1]=k elseif serving and (not o or o=='' or not lives(o)) then free[#free+1]=k end "  \
    "end\n"                                                                                                          \
    "local want=math.ceil(n/math.max(1,redis.call('ZCARD',KEYS[1])))\n"                                              \
    "local surplus=math.max(0,#mine-want)\n"                                                                         \
    "for i=1,#free do if #mine>=want then break end local k=free[i]\n"                                               \
    "  token[k]=(token[k] or 0)+1 redis.call('HSET',KEYS[3],k,int(token[k])..' '..me) mine[#mine+1]=k end\n"         \
    "local r={now,was,surplus}\n"                                                                                    \
    "for i=1,#mine do r[#r+1]=tonumber(mine[i]) r[#r+1]=token[mine[i]] end\n"                                        \
    "if new then redis.call('PUBLISH',KEYS[6],'look') end\n"                                                         \
    "return r"

/* KEYS parts ctl   ARGV me p token */
#define RELEASE                                                                                                       \
    "if redis.call('HGET',KEYS[1],ARGV[2])==ARGV[3]..' '..ARGV[1] then redis.call('HSET',KEYS[1],ARGV[2],ARGV[3]..' " \
    "')\n"                                                                                                            \
    "  redis.call('PUBLISH',KEYS[2],'look') return 1 end return 0"

/* KEYS stream lease   ARGV me limit dead(1: also what dead servers had) all(1: whoever had it) careful(1: none that was tried twice)
 * group
 * -> {more, id, fields, count, …}; an event without fields was trimmed away */
#define TAKE                                                                                              \
    CLOCK                                                                                                 \
    "local me,limit,got,more=ARGV[1],tonumber(ARGV[2]),{0},0\n"                                           \
    "local odd,G=ARGV[5]=='1',ARGV[6]\n"                                                                            \
    "local list=redis.pcall('XINFO','CONSUMERS',KEYS[1],G) if list.err then return list end\n"      \
    "local may,names,gone={},{},{}\n"                                                                     \
    "for i=1,#list do local c={} for j=1,#list[i],2 do c[list[i][j]]=list[i][j+1] end\n"                  \
    "  local n=c.name local yes=n~=me and (n=='back' or ARGV[4]=='1')\n"                                  \
    "  local s=n~='back' and redis.call('ZSCORE',KEYS[2],n) gone[n]=s and tonumber(s)<now\n"              \
    "  if n~=me and not yes and ARGV[3]=='1' then yes=not s or gone[n] end\n"                             \
    "  if yes and c.pending==0 then if n~='back' and ARGV[4]~='1' then "                                  \
    "redis.call('XGROUP','DELCONSUMER',KEYS[1],G,n)\n"                                              \
    "    redis.call('ZREM',KEYS[2],n) end\n"                                                              \
    "  elseif yes then may[n]=true names[#names+1]=n end end\n"                                           \
    "local function take(e) local id,n,count=e[1],e[2],e[4]\n"                                            \
    "  if not may[n] then return end\n"                                                                   \
    "  if (#got-1)/3>=limit then more=1 return end\n"                                                     \
    "  if count>=2 and n~='back' then if odd then more=2 return end odd=true end\n"                       \
    "  local x=redis.call('XCLAIM',KEYS[1],G,me,0,id)\n"                                            \
    "  if gone[n] then redis.call('ZREM',KEYS[2],n) end\n"                                                \
    "  if x[1] and x[1][2] then got[#got+1]=id got[#got+1]=x[1][2] got[#got+1]=count else "               \
    "redis.call('XACK',KEYS[1],G,id) if G~='ferry' then got[#got+1]=id got[#got+1]='' got[#got+1]=count end end end\n"                                                     \
    "if #names==0 then return {0} end\n"                                                                  \
    "if ARGV[4]=='1' then local from='-' while more==0 do\n"                                              \
    "    local page=redis.call('XPENDING',KEYS[1],G,from,'+',100)\n"                                \
    "    for i=1,#page do take(page[i]) if more~=0 then break end end\n"                                  \
    "    if #page<100 then break end from='('..page[#page][1] end\n"                                      \
    "else for k=1,#names do local page=redis.call('XPENDING',KEYS[1],G,'-','+',limit+1,names[k])\n" \
    "    for i=1,#page do take(page[i]) if more~=0 then break end end end end\n"                          \
    "got[1]=more return got"

/* KEYS stream ctl   ARGV me mode(take|back) group id…: what is pending under our name and not among those. -> as TAKE */
#define MINE                                                                                                      \
    "local held,got,G={},{0},ARGV[3] for i=4,#ARGV do held[ARGV[i]]=true end\n"                                             \
    "local page=redis.pcall('XPENDING',KEYS[1],G,'-','+',10000,ARGV[1]) if page.err then return page end\n" \
    "for i=1,#page do local id,count=page[i][1],page[i][4]-1 if count<0 then count=0 end\n"                       \
    "  if not held[id] then\n"                                                                                    \
    "    if ARGV[2]=='back' then redis.call('XCLAIM',KEYS[1],G,'back',0,id,'RETRYCOUNT',count,'JUSTID')\n"  \
    "    else local x=redis.call('XRANGE',KEYS[1],id,id)\n"                                                       \
    "      if x[1] then got[#got+1]=id got[#got+1]=x[1][2] got[#got+1]=count else "                               \
    "redis.call('XACK',KEYS[1],G,id) if G~='ferry' then got[#got+1]=id got[#got+1]='' got[#got+1]=count end end end\n"                                                             \
    "    got[1]=got[1]+1 end end\n"                                                                               \
    "if ARGV[2]=='back' then\n"                                                                                   \
    "  if got[1]>0 then redis.call('PUBLISH',KEYS[2],'back') end\n"                                               \
    "  local left=redis.call('XPENDING',KEYS[1],G,'-','+',1,ARGV[1])\n"                                     \
    "  if #left==0 then redis.pcall('XGROUP','DELCONSUMER',KEYS[1],G,ARGV[1]) end end\n"                    \
    "return got"

/* KEYS stream known later dead parts ctl   ARGV me part token done_ms done_count, then for each message:
 * D id | R id delay attempt | B id message box record | H id count | X id.   -> how many were still ours, or -1: the fence */
#define OPS                                                                                                         \
    CLOCK                                                                                                           \
    "local S,me=KEYS[1],ARGV[1]\n"                                                                                  \
    "if ARGV[2]~='0' and redis.call('HGET',KEYS[5],ARGV[2])~=ARGV[3]..' '..me then return -1 end\n"                 \
    "local i,ours,done,back,gone=6,0,false,false,{}\n"                                                              \
    "local function mine(id) local p=redis.call('XPENDING',S,'ferry',id,id,1) return p[1] and p[1][2]==me end\n"    \
    "local function drop(id) redis.call('XACK',S,'ferry',id) redis.call('XDEL',S,id) end\n"                         \
    "while i<=#ARGV do local op,id=ARGV[i],ARGV[i+1] local yes=mine(id) if yes then ours=ours+1 end\n"              \
    "  if op=='D' then if yes then drop(id) done=true end i=i+2\n"                                                  \
    "  elseif op=='X' then if yes then drop(id) end i=i+2\n"                                                        \
    "  elseif op=='H' then if yes then redis.call('XCLAIM',S,'ferry','back',0,id,'RETRYCOUNT',ARGV[i+2],'JUSTID') " \
    "back=true end i=i+3\n"                                                                                         \
    "  elseif op=='B' then if yes then "                                                                            \
    "redis.call('XADD',KEYS[4],'*','id',ARGV[i+2],'box',ARGV[i+3],'record',ARGV[i+4])\n"                            \
    "      redis.call('ZREM',KEYS[2],ARGV[i+2]) drop(id) end i=i+5\n"                                               \
    "  else if yes then local e=redis.call('XRANGE',S,id,id)\n"                                                     \
    "      if e[1] then local f,to=e[1][2],{} for j=1,#f,2 do if f[j]~='attempt' then to[#to+1]=f[j] "              \
    "to[#to+1]=f[j+1] end end\n"                                                                                    \
    "        to[#to+1]='attempt' to[#to+1]=ARGV[i+3]\n"                                                             \
    "        redis.call('ZADD',KEYS[3],int(now+tonumber(ARGV[i+2])),cmsgpack.pack({id,S,to})) end\n"                \
    "      drop(id) end i=i+4 end end\n"                                                                            \
    "if done then redis.call('ZREMRANGEBYSCORE',KEYS[2],'-inf',int(now-tonumber(ARGV[4])))\n"                       \
    "  redis.call('ZREMRANGEBYRANK',KEYS[2],0,-1-tonumber(ARGV[5])) end\n"                                          \
    "if back then redis.call('PUBLISH',KEYS[6],'back') end\n"                                                       \
    "return ours"

/* KEYS later   ARGV limit   -> milliseconds to the next one that is due, or -1 */
#define MOVE                                                                                      \
    CLOCK                                                                                         \
    "local list=redis.call('ZRANGEBYSCORE',KEYS[1],'-inf',int(now),'LIMIT',0,ARGV[1])\n"          \
    "for i=1,#list do local m=cmsgpack.unpack(list[i]) redis.call('XADD',m[2],'*',unpack(m[3])) " \
    "redis.call('ZREM',KEYS[1],list[i]) end\n"                                                    \
    "local next=redis.call('ZRANGE',KEYS[1],0,0,'WITHSCORES')\n"                                  \
    "if not next[2] then return -1 end return math.max(0,tonumber(next[2])-now)"

/* KEYS stream   ARGV id   -> 1: it was taken back before anybody had begun it */
#define WITHDRAW                                                                                             \
    "local id=ARGV[1] local e=redis.call('XRANGE',KEYS[1],id,id) if not e[1] then return 0 end\n"            \
    "local function split(x) local a,b=string.match(x,'^(%d+)-(%d+)$') return tonumber(a),tonumber(b) end\n" \
    "local groups=redis.call('XINFO','GROUPS',KEYS[1]) local last='0-0'\n"                                   \
    "for i=1,#groups do local g={} for j=1,#groups[i],2 do g[groups[i][j]]=groups[i][j+1] end\n"             \
    "  if g.name=='ferry' then last=g['last-delivered-id'] end end\n"                                        \
    "local a,b=split(id) local c,d=split(last)\n"                                                            \
    "if a>c or (a==c and b>d) then return redis.call('XDEL',KEYS[1],id) end\n"                               \
    "local p=redis.call('XPENDING',KEYS[1],'ferry',id,id,1)\n"                                               \
    "if p[1] and p[1][2]=='back' and p[1][4]==0 then redis.call('XACK',KEYS[1],'ferry',id) return "          \
    "redis.call('XDEL',KEYS[1],id) end\n"                                                                    \
    "return 0"

/* KEYS stream up   -> 0 never, 1 gone, 2 alive */
#define ALIVE \
    CLOCK     \
    "if redis.call('ZCOUNT',KEYS[2],int(now),'+inf')>0 then return 2 end return redis.call('EXISTS',KEYS[1])"

/* KEYS dead   ARGV message   -> how many records of that message were removed (1 or 0) */
#define UNBURY \
    "local from='-' while true do local page=redis.call('XRANGE',KEYS[1],from,'+','COUNT',20)\n" \
    "  for i=1,#page do local f=page[i][2] for j=1,#f,2 do\n" \
    "    if f[j]=='id' and f[j+1]==ARGV[1] then return redis.call('XDEL',KEYS[1],page[i][1]) end end end\n" \
    "  if #page<20 then return 0 end from='('..page[#page][1] end"

/* KEYS inbox   ARGV ttl_ms   -> the last id in it */
#define INBOX                                                                                                       \
    "if redis.call('EXISTS',KEYS[1])==0 then redis.call('XGROUP','CREATE',KEYS[1],'ferry','$','MKSTREAM') end\n"    \
    "redis.call('PEXPIRE',KEYS[1],ARGV[1])\n"                                                                       \
    "local x=redis.call('XINFO','STREAM',KEYS[1]) for j=1,#x,2 do if x[j]=='last-generated-id' then return x[j+1] " \
    "end end return '0-0'"

static const char *const texts[REDIS__EVENT_TEXTS] = {
    [REDIS__RENEW] = RENEW,   [REDIS__RELEASE] = RELEASE, [REDIS__TAKE] = TAKE,         [REDIS__MINE] = MINE,
    [REDIS__OPS] = OPS,       [REDIS__MOVE] = MOVE,       [REDIS__WITHDRAW] = WITHDRAW, [REDIS__ALIVE] = ALIVE,
    [REDIS__UNBURY] = UNBURY, [REDIS__INBOX] = INBOX,
};

static const char *text_of(redis__script s)
{
    return s < REDIS__EVENT_TEXTS ? texts[s] : redis__event_text(s);
}

/* ---- Calling -------------------------------------------------------------------------------------------------------- */

/* Computed once a handle would be enough; once a process is easier: the texts never change. */
static const char *sha(redis__script s)
{
    static _Thread_local char known[REDIS__SCRIPTS][41];
    if (!known[s][0])
        redis__sha(text_of(s), known[s]);
    return known[s];
}

void redis__call(redis__pipe *p, redis__script s, size_t keys, size_t args)
{
    ferry__buf *b = &p->conns[REDIS__W].out;
    bool loaded = p->loaded >> s & 1;
    redis__words(b, 3 + keys + args);
    redis__word(b, loaded ? "EVALSHA" : "EVAL");
    redis__word(b, loaded ? sha(s) : text_of(s));
    redis__word_number(b, (int64_t)keys);
    p->loaded |= 1u << s;
}

bool redis__forgotten(redis__pipe *p, redis__script s, const redis__value *v)
{
    if (!redis__is_error(v, "NOSCRIPT"))
        return false;
    p->loaded &= ~(1u << s);
    return true;
}
