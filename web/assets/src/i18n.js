// The editor's own words: bpmn-js-i18n's Chinese table, and a table of ours for what it lacks.
import chinese from 'bpmn-js-i18n/translations/zn';

const OURS = {
  '(none)': '（无）', 'required': '必须', 'Form and people': '表单与人员', 'Form': '表单', 'Result variable': '结果变量', 'Group': '组',
  'Assignee (expression)': '办理人（表达式）', 'Never these people (expression)': '回避人员（表达式）', 'Signature': '签字',
  'Training record': '培训资格', 'Due after (ISO 8601, e.g. P2D)': '办理时限（ISO 8601，如 P2D）', 'Instructions': '办理说明',
  'Instructions (Markdown)': '办理说明（Markdown）', 'Operator': '操作', 'Decision table': '决策表', 'Decision': '决策', 'Script': '脚本',
  'Condition': '条件', 'Condition (expression)': '条件（表达式）', 'Scripts before and after': '前后脚本', 'Before': '之前', 'After': '之后',
  'Documentation': '说明', 'Element documentation': '元素说明', 'General': '常规', 'Name': '名称', 'ID': '编号', 'Executable': '可执行',
  'Multi-instance': '多实例', 'Loop cardinality': '循环次数', 'Completion condition': '完成条件', 'Timer': '定时器', 'Type': '类型', 'Value': '值',
  'Error': '错误', 'Message': '消息', 'Signal': '信号', 'Escalation': '升级', 'Global error reference': '全局错误', 'Code': '代码',
  'Global message reference': '全局消息', 'Global signal reference': '全局信号', 'Global escalation reference': '全局升级',
  'Process name': '流程名称', 'Process ID': '流程编号', 'Process documentation': '流程说明', 'Participant name': '参与者名称', 'Participant ID': '参与者编号',
  'Toggle section': '展开或收起', 'Select an element to edit its properties.': '选择一个元素以编辑其属性。',
  'Select a single element to edit its properties.': '请只选择一个元素。', 'Create new ...': '新建…', '<none>': '（无）', 'Format': '格式',
  'Append element': '追加元素', 'Create element': '新建元素', 'Change element': '更改元素', 'Toggle minimap': '缩略图', 'Open minimap': '打开缩略图',
  'Close minimap': '关闭缩略图', 'Task': '任务', 'User Task': '用户任务', 'Service Task': '服务任务', 'Script Task': '脚本任务',
  'Business Rule Task': '业务规则任务', 'Manual Task': '手工任务', 'Send Task': '发送任务', 'Receive Task': '接收任务', 'Call Activity': '调用活动',
  'Sub Process': '子流程', 'Event Sub Process': '事件子流程', 'Transaction': '事务', 'Exclusive Gateway': '排他网关', 'Parallel Gateway': '并行网关',
  'Inclusive Gateway': '包容网关', 'Event Based Gateway': '事件网关', 'Complex Gateway': '复杂网关', 'Sequence Flow': '顺序流', 'Message Flow': '消息流',
  'Association': '关联', 'Collaboration': '协作', 'Participant': '参与者', 'Lane': '泳道', 'Process': '流程', 'Group Element': '分组',
  'Data Object Reference': '数据对象', 'Data Store Reference': '数据存储', 'Text Annotation': '文本注释', 'Data Input Association': '数据输入关联',
  'Data Output Association': '数据输出关联',
  'Ad Hoc Sub Process': '自由子流程', 'Ad-hoc sub-process': '自由子流程', 'Expanded Sub Process': '展开的子流程', 'Participant Name': '参与者名称', 'Section contains edits': '该部分有内容',
  'Section contains an error': '该部分有错误', 'Toggle non-interrupting': '切换为非中断', 'Compensation': '补偿', 'Link': '链接', 'Completion': '完成',
  'A time duration defined as ISO 8601 durations format.': 'ISO 8601 格式的时长。', '15 seconds': '15 秒', '1 hour and 30 minutes': '1 小时 30 分',
  '14 days': '14 天', 'Documentation: Timer events': '说明：定时事件', 'Date': '日期', 'Duration': '时长', 'Cycle': '周期', 'Format version': '格式版本'
};

// What the panel calls an element: event definition, kind, and whether a boundary event interrupts.
const EVENTS = {
  '': '', 'Timer ': '定时', 'Message ': '消息', 'Signal ': '信号', 'Error ': '错误', 'Escalation ': '升级', 'Conditional ': '条件', 'Terminate ': '终止',
  'Compensate ': '补偿', 'Link ': '链接', 'Cancel ': '取消'
};
const POSITIONS = {
  'Start Event': '开始事件', 'End Event': '结束事件', 'Boundary Event': '边界事件', 'Intermediate Catch Event': '中间捕获事件',
  'Intermediate Throw Event': '中间抛出事件'
};
for (const [event, inChinese] of Object.entries(EVENTS)) {
  for (const [position, named] of Object.entries(POSITIONS)) {
    OURS[`${event}${position}`] = `${inChinese}${named}`;
    OURS[`${event}${position} (Non Interrupting)`] = `${inChinese}${named}（非中断）`;
  }
}

/** The module that translates. What the tables lack stays English and is noted in `missing`. */
export default function translation(language, missing = new Set()) {
  const inChinese = language.startsWith('zh'), table = inChinese ? { ...chinese, ...OURS } : {};
  const translate = (template, values = {}) => {
    if (inChinese && !table[template] && /[a-z]{2}/.test(template)) missing.add(template);
    return (table[template] || template).replace(/{([^}]+)}/g, (whole, name) => values[name] ?? whole);
  };
  return { translate: ['value', translate] };
}
