# Completion of git-agile for fish, of `git agile` and of `git-agile`.
# What can come next is asked of the program, which knows; see src/cli/complete.rs for what it answers.

function __git_agile_complete
    set -l words (commandline -opc)
    set -l ask git-agile
    if test "$words[1]" = git
        set -l at (contains -i -- agile $words); or return
        set ask $words[1..$at]
        set words $words[$at..-1]
    end
    set -l answer ($ask complete -- $words[2..-1] (commandline -ct) 2>/dev/null)
    switch "$answer[1]"
        case files
            __fish_complete_path (commandline -ct)
        case folders
            __fish_complete_directories (commandline -ct)
        case '*'
            printf '%s\n' $answer[2..-1]
    end
end

complete -c git-agile -f -k -a '(__git_agile_complete)'
# fish asks for `git-agile` when it completes `git agile`; fish 3.6.0 asks for `git-git-agile`.
complete -c git -f -k -n '__fish_git_using_command agile' -a '(__git_agile_complete)'
