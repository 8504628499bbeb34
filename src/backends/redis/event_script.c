/* event_script.c - what events need to happen at once in Redis, as Lua. How it is called: script.c. */
#include "backends/redis/event.h"

/* clang-format off */

/* What those begin with that have KEYS topic domains events   ARGV domain partitions keep_ms keep_bytes */
#define BASE \
    "local t=redis.call('TIME') local now=t[1]*1000+math.floor(t[2]/1000)\n" \
    "local function int(n) return string.format('%.0f',n) end\n" \
    "local function key(p) if p==0 then return KEYS[3] end return KEYS[3]..':'..p end\n" \
    "local function split(x) local a,b=string.match(x,'^(%d+)-(%d+)$') return tonumber(a),tonumber(b) end\n" \
    "local function less(x,y) local a,b=split(x) local c,d=split(y) return a<c or (a==c and b<d) end\n" \
    "local function pred(x) local a,b=split(x) if b>0 then return int(a)..'-'..int(b-1) end\n" \
    "  if a==0 then return '0-0' end return int(a-1)..'-18446744073709551615' end\n" \
    "local function map(list) local m={} for j=1,#list,2 do m[list[j]]=list[j+1] end return m end\n" \
    "local function groups(k) local l=redis.call('XINFO','GROUPS',k) for i=1,#l do l[i]=map(l[i]) end return l " \
    "    end\n" \
    "local function about(make)\n" \
    "  local h=redis.call('HMGET',KEYS[1],'partitions','keep_ms','keep_bytes','born') h.made=0\n" \
    "  if not h[1] then if not make then return nil end\n" \
    "    h={ARGV[2],ARGV[3],ARGV[4],t[1]..'.'..t[2]} h.made=1\n" \
    "    redis.call('HSET',KEYS[1],'partitions',h[1],'keep_ms',h[2],'keep_bytes',h[3],'born',h[4])\n" \
    "    redis.call('SADD',KEYS[2],ARGV[1]) end\n" \
    "  for i=1,3 do h[i]=tonumber(h[i]) end\n" \
    "  for p=0,h[1] do if redis.call('EXISTS',key(p))==0 then\n" \
    "    redis.call('XGROUP','CREATE',key(p),'ferry','$','MKSTREAM') " \
    "    redis.call('XGROUP','DESTROY',key(p),'ferry') end end\n" \
    "  return h end\n"

/* -> {parts, keep_ms, keep_bytes, born, was it made} */
#define ABOUT \
    "local h=about(true) return {h[1],h[2],h[3],h[4],h.made}"

/* ARGV … group('': a broadcast) mode(new|earliest|time|at|on: as it was) what(ms|position) born moves(1) parts to be moved
 * -> {0, parts, born, start, end, start, end, …}, or {1: trimmed away, 2: the group is gone, 3: no position; parts, born} */
#define JOIN \
    "local h=about(true) local n,T=h[1],KEYS[1]\n" \
    "local group,mode,arg,move=ARGV[5],ARGV[6],ARGV[7],ARGV[9]=='1'\n" \
    "local at,moves,S,G,cut,any={},{},{},{},{},false\n" \
    "for p,id in string.gmatch(arg,'(%d+):(%d+%-%d+)') do at[tonumber(p)]=id end\n" \
    "for p in string.gmatch(ARGV[10],'%d+') do moves[tonumber(p)]=true end\n" \
    "for p=0,n do local x=map(redis.call('XINFO','STREAM',key(p))) S[p]=x\n" \
    "  local gone=(x['entries-added'] or x.length)-x.length\n" \
    "  if gone>tonumber(redis.call('HGET',T,'gone:'..p) or 0) then\n" \
    "    local f=x['first-entry'] redis.call('HSET',T,'gone:'..p,gone,'trimmed:'..p,f and pred(f[1]) or " \
    "    x['last-generated-id']) end\n" \
    "  cut[p]=redis.call('HGET',T,'trimmed:'..p)\n" \
    "  if group~='' then local l=groups(key(p))\n" \
    "    for i=1,#l do if l[i].name==group then G[p]=l[i]['last-delivered-id'] any=true end end end end\n" \
    "local function bad(code) return {code,n,h[4]} end\n" \
    "if mode=='at' and arg~='-' and string.gsub(arg..',','%d+:%d+%-%d+,','')~='' then return bad(3) end\n" \
    "for p=0,n do local c,s=cut[p],at[p] or '0-0'\n" \
    "  if group=='' then if (mode=='at' or mode=='on') and c and less(s,c) then return bad(1) end\n" \
    "  elseif not G[p] or (move and moves[p]) then\n" \
    "    if mode=='at' and c and less(s,c) then return bad(1) end\n" \
    "    if not G[p] and not move then\n" \
    "      if redis.call('HEXISTS',T,'overtaken:'..p..':'..group)==1 then return bad(1) end\n" \
    "      if mode=='on' and ARGV[8]==h[4] then return bad(2) end end\n" \
    "  elseif c and less(G[p],c) then return bad(1) end end\n" \
    "local r={0,n,h[4]}\n" \
    "for p=0,n do local last,s=S[p]['last-generated-id'],'0-0'\n" \
    "  if mode=='new' then s=last elseif mode=='time' then s=pred(arg..'-0')\n" \
    "  elseif mode=='at' or group=='' and mode=='on' then s=at[p] or '0-0' end\n" \
    "  if any and not G[p] and not move then s='0-0' end\n" \
    "  if cut[p] and less(s,cut[p]) then s=cut[p] end\n" \
    "  if group~='' then\n" \
    "    if not G[p] then redis.call('XGROUP','CREATE',key(p),group,s) " \
    "    redis.call('HDEL',T,'overtaken:'..p..':'..group)\n" \
    "    elseif move and moves[p] then redis.call('XGROUP','SETID',key(p),group,s)\n" \
    "    else s=G[p] end end\n" \
    "  r[#r+1]=s r[#r+1]=S[p].length>0 and last or '0-0' end\n" \
    "return r"

/* KEYS stream later dead parts ctl services   ARGV me part token group posts service, then for each event:
 * R id delay words word… | H id count words word… | B id message box record.   -> how many were still ours, or -1: the fence
 * What is handed back and was trimmed away goes where the retries go. */
#define EVENT_OPS \
    "local t=redis.call('TIME') local now=t[1]*1000+math.floor(t[2]/1000)\n" \
    "local S,me,G=KEYS[1],ARGV[1],ARGV[4]\n" \
    "if ARGV[2]~='0' and redis.call('HGET',KEYS[4],ARGV[2])~=ARGV[3]..' '..me then return -1 end\n" \
    "local i,ours,back=7,0,false\n" \
    "local function words() local to,n={},tonumber(ARGV[i+3]) for j=1,n do to[j]=ARGV[i+3+j] end i=i+4+n return " \
    "    to end\n" \
    "local function later(id,delay,to)\n" \
    "  redis.call('ZADD',KEYS[2],string.format('%.0f',now+delay),cmsgpack.pack({id,ARGV[5],to}))\n" \
    "  redis.call('XACK',S,G,id) end\n" \
    "while i<=#ARGV do local op,id,x=ARGV[i],ARGV[i+1],ARGV[i+2]\n" \
    "  local p=redis.call('XPENDING',S,G,id,id,1) local yes=p[1] and p[1][2]==me if yes then ours=ours+1 end\n" \
    "  if op=='R' then local to=words() if yes then later(id,tonumber(x),to) end\n" \
    "  elseif op=='H' then local to=words() if yes then\n" \
    "    if redis.call('XCLAIM',S,G,'back',0,id,'RETRYCOUNT',x,'JUSTID')[1] then back=true else later(id,0,to) " \
    "    end end\n" \
    "  else if yes then redis.call('XADD',KEYS[3],'*','id',x,'box',ARGV[i+3],'record',ARGV[i+4])\n" \
    "      redis.call('SADD',KEYS[6],ARGV[6]) redis.call('XACK',S,G,id) end i=i+5 end end\n" \
    "if back then redis.call('PUBLISH',KEYS[5],'back') end\n" \
    "return ours"

/* -> how many are left. By bytes: about, from the first and the last entries of each part */
#define TRIM \
    "local h=about(false) if not h then return 0 end\n" \
    "local n,keep,T=h[1],h[3],KEYS[1]\n" \
    "local function note(p,id,count)\n" \
    "  redis.call('HSET',T,'trimmed:'..p,id) redis.call('HINCRBY',T,'gone:'..p,count)\n" \
    "  local l=groups(key(p)) for i=1,#l do local g,last=l[i].name,l[i]['last-delivered-id']\n" \
    "    if less(last,id) then redis.call('HSET',T,'overtaken:'..p..':'..g,last) " \
    "    redis.call('XGROUP','DESTROY',key(p),g) end end end\n" \
    "local function weigh(list) local b=0 for i=1,#list do b=b+32 local f=list[i][2] for j=1,#f do b=b+#f[j]+2 " \
    "    end end return b end\n" \
    "if h[2]>0 then local cut='('..int(now-h[2])..'-0'\n" \
    "  for p=0,n do local last=redis.call('XREVRANGE',key(p),cut,'-','COUNT',1)\n" \
    "    if last[1] then note(p,last[1][1],redis.call('XTRIM',key(p),'MINID','=',string.sub(cut,2))) end end end\n" \
    "if keep>0 then local all,len=0,{}\n" \
    "  for p=0,n do len[p]=redis.call('XLEN',key(p)) if len[p]>0 then\n" \
    "    local a,b=redis.call('XRANGE',key(p),'-','+','COUNT',8),redis.call('XREVRANGE',key(p),'+','-','COUNT',8)\n" \
    "    all=all+len[p]*(weigh(a)+weigh(b))/(#a+#b) end end\n" \
    "  for p=0,n do local m=math.floor(len[p]*keep/math.max(all,1))\n" \
    "    if m<len[p] then local c=redis.call('XTRIM',key(p),'MAXLEN','=',m+1)\n" \
    "      local id=redis.call('XRANGE',key(p),'-','+','COUNT',1)[1][1]\n" \
    "      note(p,id,c+redis.call('XTRIM',key(p),'MAXLEN','=',m)) end end end\n" \
    "local left=0 for p=0,n do left=left+redis.call('XLEN',key(p)) end return left"

/* ARGV … group, then part and end id of each -> 1: all up to there is finished */
#define CAUGHT_UP \
    "for i=6,#ARGV,2 do local k,last=key(tonumber(ARGV[i])),nil local l=groups(k)\n" \
    "  for j=1,#l do if l[j].name==ARGV[5] then last=l[j]['last-delivered-id'] end end\n" \
    "  if not last or less(last,ARGV[i+1]) then return 0 end\n" \
    "  if redis.call('XPENDING',k,ARGV[5],'-',ARGV[i+1],1)[1] then return 0 end end\n" \
    "return 1"

/* ARGV … ns group('': all) cursor('': none)
 * -> {parts, keep_ms, keep_bytes, events, behind the cursor, group, lag, position, members, group, …}, or {-1}; unknown: -1.
 * What Redis says of a group's lag is too much once it was restarted, so the near end is counted */
#define LAG \
    "local h=about(false) if not h then return {-1} end\n" \
    "local function behind(k,id,pages) local c,from=0,'('..id for i=1,pages do\n" \
    "  local page=redis.call('XRANGE',k,from,'+','COUNT',100) c=c+#page if #page<100 then return c end\n" \
    "  from='('..page[#page][1] end end\n" \
    "local names,of,events,at,rest={},{},0,{},0\n" \
    "for p,id in string.gmatch(ARGV[7],'(%d+):(%d+%-%d+)') do at[tonumber(p)]=id end\n" \
    "for p=0,h[1] do local k,l=key(p),groups(key(p)) events=events+redis.call('XLEN',k)\n" \
    "  if ARGV[7]~='' and rest then local more=behind(k,at[p] or '0-0',200) rest=more and rest+more end\n" \
    "  for i=1,#l do local g=l[i] if ARGV[6]=='' or ARGV[6]==g.name then\n" \
    "    local x=of[g.name] if not x then x={lag=0,at=''} of[g.name]=x names[#names+1]=g.name end\n" \
    "    local lag=behind(k,g['last-delivered-id'],20) or g.lag x.lag=x.lag and lag and x.lag+lag+g.pending\n" \
    "    local first=redis.call('XPENDING',k,g.name,'-','+',1)[1] local id=first and pred(first[1]) or " \
    "    g['last-delivered-id']\n" \
    "    if id~='0-0' then x.at=x.at..(x.at=='' and '' or ',')..p..':'..id end end end end\n" \
    "local r={h[1],h[2],h[3],events,rest or -1}\n" \
    "for i=1,#names do local g=names[i] local x=of[g] r[#r+1]=g r[#r+1]=x.lag or -1 r[#r+1]=x.at=='' and '-' or " \
    "    x.at\n" \
    "  r[#r+1]=redis.call('ZCOUNT',ARGV[5]..':{'..ARGV[1]..'/'..g..'}:up',int(now),'+inf') end\n" \
    "return r"

/* KEYS domains   ARGV ns -> name, parts, … */
#define TOPICS \
    "local r,all={},redis.call('SMEMBERS',KEYS[1]) table.sort(all)\n" \
    "for i=1,#all do local n=redis.call('HGET',ARGV[1]..':{'..all[i]..'}:topic','partitions')\n" \
    "  if n then r[#r+1]=all[i] r[#r+1]=tonumber(n) end end\n" \
    "return r"

/* ARGV … delete|purge   -> how many topics, or events; -1: there is no such topic */
#define TOPIC_END \
    "local h=about(false) if not h then return -1 end\n" \
    "local c=0\n" \
    "for p=0,h[1] do local k=key(p) c=c+redis.call('XLEN',k)\n" \
    "  if ARGV[5]=='delete' then redis.call('UNLINK',k)\n" \
    "  else local l=groups(k) redis.call('HINCRBY',KEYS[1],'gone:'..p,redis.call('XTRIM',k,'MAXLEN','=',0))\n" \
    "    for i=1,#l do redis.call('XGROUP','DESTROY',k,l[i].name) redis.call('XGROUP','CREATE',k,l[i].name,'$') " \
    "    end end end\n" \
    "if ARGV[5]~='delete' then return c end\n" \
    "redis.call('UNLINK',KEYS[1]) redis.call('SREM',KEYS[2],ARGV[1]) return 1"

/* KEYS stream   ARGV since_ms, then for each event: message words word…   -> its entry: the old one, if it is there already */
#define AGAIN \
    "local seen,to,pages={},'+',0\n" \
    "while pages<40 do local page=redis.call('XREVRANGE',KEYS[1],to,ARGV[1],'COUNT',500) pages=pages+1\n" \
    "  for i=1,#page do local id=string.match(page[i][2][2] or '','^%S+ %S+ %S+ %S+ (%S+)') if id then " \
    "    seen[id]=page[i][1] end end\n" \
    "  if #page<500 then break end to='('..page[#page][1] end\n" \
    "local r,i={},2\n" \
    "while i<=#ARGV do local id,n=ARGV[i],tonumber(ARGV[i+1])\n" \
    "  if not seen[id] then local w={} for j=1,n do w[j]=ARGV[i+1+j] end\n" \
    "    seen[id]=redis.call('XADD',KEYS[1],'NOMKSTREAM','*',unpack(w)) end\n" \
    "  r[#r+1]=seen[id] i=i+2+n end\n" \
    "return r"

/* clang-format on */

static const struct {
    const char *base, *text;
} texts[] = {
    [REDIS__ABOUT - REDIS__EVENT_TEXTS] = {BASE, ABOUT},
    [REDIS__JOIN - REDIS__EVENT_TEXTS] = {BASE, JOIN},
    [REDIS__EVENT_OPS - REDIS__EVENT_TEXTS] = {"", EVENT_OPS},
    [REDIS__TRIM - REDIS__EVENT_TEXTS] = {BASE, TRIM},
    [REDIS__CAUGHT_UP - REDIS__EVENT_TEXTS] = {BASE, CAUGHT_UP},
    [REDIS__LAG - REDIS__EVENT_TEXTS] = {BASE, LAG},
    [REDIS__TOPICS - REDIS__EVENT_TEXTS] = {"", TOPICS},
    [REDIS__TOPIC_END - REDIS__EVENT_TEXTS] = {BASE, TOPIC_END},
    [REDIS__AGAIN - REDIS__EVENT_TEXTS] = {"", AGAIN},
};

/* Lives until the next one is asked for, in this thread. */
const char *redis__event_text(redis__script s)
{
    static _Thread_local char whole[8192];
    snprintf(whole, sizeof whole, "%s%s", texts[s - REDIS__EVENT_TEXTS].base, texts[s - REDIS__EVENT_TEXTS].text);
    return whole;
}
