#compdef rtinspect
# zsh completion for rtinspect. Load it with: source <(rtinspect completion zsh)
_rtinspect() {
    local -a candidates
    candidates=("${(@f)$("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    candidates=(${candidates:#})
    if [[ ${candidates[1]-} == :files ]]; then
        _files
        return
    fi
    compadd -- ${candidates:#*=}
    compadd -S '' -- ${(M)candidates:#*=}
}
if [[ ${funcstack[1]} == _rtinspect ]]; then
    _rtinspect "$@"
else
    compdef _rtinspect rtinspect
fi
